"""What is remembered of a call on fake tensors is what the call would have given."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from isoinit._reading.torch.calls import function_name
from isoinit._reading.torch.forms import FRESH, Forms

F = nn.functional


def tensors(mode, dtype=torch.float32):
    with mode:
        wide = torch.empty(4, 6, 8, dtype=dtype)
        return (
            wide,
            wide.transpose(1, 2),
            torch.empty(8, dtype=dtype),
            torch.empty(8, 8, dtype=dtype),
        )


CALLS = [
    (F.linear, lambda w, t, v, m: ((w, m, v), {})),
    (F.linear, lambda w, t, v, m: ((w, m), {})),
    (torch.matmul, lambda w, t, v, m: ((w, t), {})),
    (torch.Tensor.__add__, lambda w, t, v, m: ((w, v), {})),
    (torch.add, lambda w, t, v, m: ((w, 2), {"alpha": 3})),
    (torch.Tensor.mul, lambda w, t, v, m: ((t, t), {})),
    (torch.Tensor.div, lambda w, t, v, m: ((w, 2.0), {})),
    (torch.mean, lambda w, t, v, m: ((w, [-1], True), {})),
    (torch.Tensor.mean, lambda w, t, v, m: ((w,), {"dim": 1})),
    (torch.cat, lambda w, t, v, m: (([w, w], 1), {})),
    (F.softmax, lambda w, t, v, m: ((w,), {"dim": -1, "dtype": torch.float64})),
    (F.layer_norm, lambda w, t, v, m: ((w, (8,), v, v), {})),
    (F.gelu, lambda w, t, v, m: ((t,), {"approximate": "tanh"})),
    (F.scaled_dot_product_attention, lambda w, t, v, m: ((w, w, w), {})),
]


def form(tensor):
    return type(tensor), tensor.shape, tensor.stride(), tensor.dtype, tensor.device


@pytest.mark.parametrize(("func", "given"), CALLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_second_call_gives_the_form_of_the_first(func, given, dtype):
    mode, forms = FakeTensorMode(allow_non_fake_inputs=True), Forms()
    args, kwargs = given(*tensors(mode, dtype))
    name = function_name(func)
    assert name in FRESH
    with torch.no_grad(), mode:
        expected = func(*args, **kwargs)
        first, second, third = (forms.made(func, name, args, kwargs, seen=False) for _ in range(3))
    assert form(first) == form(second) == form(expected)
    assert len({one.untyped_storage()._cdata for one in (first, second, third)}) == 3


def test_other_arguments_give_another_form():
    mode, forms = FakeTensorMode(), Forms()
    wide, turned, row, _ = tensors(mode)

    def made(func, *args, **kwargs):
        return forms.made(func, function_name(func), args, kwargs, seen=False)

    with torch.no_grad(), mode:
        assert made(torch.mean, wide, 1).shape == (4, 8)
        assert made(torch.mean, wide, 2).shape == (4, 6)
        assert made(torch.mean, wide, 2, True).shape == (4, 6, 1)
        assert made(torch.mul, wide, 2).dtype == torch.float32
        assert made(torch.mul, wide, 2.0).dtype == torch.float32
        assert made(torch.mul, wide, row.double()).dtype == torch.float64
        assert made(torch.mul, turned, 2).stride() == torch.mul(turned, 2).stride()


def test_on_the_meta_device_too():
    mode, forms = FakeTensorMode(), Forms()
    with torch.no_grad(), mode:
        one = torch.empty(2, 3, device="meta")
        for _ in range(2):
            made = forms.made(torch.add, "add", (one, one), {}, seen=False)
            assert (made.shape, made.device.type) == ((2, 3), "meta")


def test_under_autocast_calls_are_made():
    mode, forms = FakeTensorMode(), Forms()
    wide, _, _, square = tensors(mode)

    def made():
        return forms.made(F.linear, "linear", (wide, square), {}, seen=False)

    with torch.no_grad(), mode:
        assert made().dtype == torch.float32
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert made().dtype == torch.bfloat16
        assert made().dtype == torch.float32


def test_what_writes_is_made():
    mode, forms = FakeTensorMode(), Forms()
    wide = tensors(mode)[0]
    with torch.no_grad(), mode:
        for _ in range(2):
            assert forms.made(torch.Tensor.add_, "add", (wide, 1), {}, seen=True) is wide


def test_real_tensors_are_made():
    forms, wide = Forms(), torch.ones(2, 3)
    with torch.no_grad():
        for factor in (2.0, 3.0, 2.0):
            made = forms.made(torch.mul, "mul", (wide, factor), {}, seen=False)
            assert torch.equal(made, wide * factor)
