"""What is remembered of a call on fake tensors is what the call would have given."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from isoinit._reading.torch.calls import function_name
from isoinit._reading.torch.forms import PURE, Forms, signature

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
    (F.dropout, lambda w, t, v, m: ((t,), {"p": 0.1})),
]


VIEWS = [
    (torch.Tensor.view, lambda w, t, v, m: ((w, 4, 48), {})),
    (torch.Tensor.view, lambda w, t, v, m: ((w, (4, -1)), {})),
    (torch.Tensor.reshape, lambda w, t, v, m: ((t, 4, 2, 24), {})),  # this one is a copy
    (torch.Tensor.transpose, lambda w, t, v, m: ((t, 0, 1), {})),
    (torch.Tensor.__getitem__, lambda w, t, v, m: ((w, (..., slice(2, None))), {})),
    (torch.Tensor.__getitem__, lambda w, t, v, m: ((t, (slice(None), None, 1)), {})),
    (torch.Tensor.contiguous, lambda w, t, v, m: ((w,), {})),  # itself
    (F.dropout, lambda w, t, v, m: ((w, 0.1, False), {})),
    (torch.Tensor.contiguous, lambda w, t, v, m: ((t,), {})),
    (torch.Tensor.to, lambda w, t, v, m: ((w, torch.float64), {})),
    (torch.Tensor.expand, lambda w, t, v, m: ((v, 3, -1), {})),
    (torch.Tensor.chunk, lambda w, t, v, m: ((w, 2), {"dim": 1})),
    (torch.split, lambda w, t, v, m: ((w, [1, 5], 1), {})),
    (torch.unbind, lambda w, t, v, m: ((w,), {})),
    (torch.Tensor.T.__get__, lambda w, t, v, m: ((m,), {})),
]


def form(tensor):
    return type(tensor), tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def call(forms, func, args, kwargs, *, seen=False):
    signed = None if seen else signature(func, args, kwargs)
    return forms.made(func, function_name(func), args, kwargs, signed)


@pytest.mark.parametrize(("func", "given"), CALLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_second_call_gives_the_form_of_the_first(func, given, dtype):
    mode, forms = FakeTensorMode(allow_non_fake_inputs=True), Forms()
    args, kwargs = given(*tensors(mode, dtype))
    assert function_name(func) in PURE
    with torch.no_grad(), mode:
        expected = func(*args, **kwargs)
        first, second, third = (call(forms, func, args, kwargs) for _ in range(3))
    assert form(first) == form(second) == form(expected)
    assert len({one.untyped_storage()._cdata for one in (first, second, third)}) == 3


@pytest.mark.parametrize(("func", "given"), VIEWS)
def test_views_are_on_the_memory_that_the_call_would_have_put_them_on(func, given):
    mode, forms = FakeTensorMode(allow_non_fake_inputs=True), Forms()
    args, kwargs = given(*tensors(mode))
    assert function_name(func) in PURE

    def seen(made):
        made = made if isinstance(made, (tuple, list)) else (made,)
        memory = [one.untyped_storage()._cdata == args[0].untyped_storage()._cdata for one in made]
        places = [one.storage_offset() for one in made]
        return [form(one) for one in made], memory, places, [one is args[0] for one in made]

    with torch.no_grad(), mode:
        expected = func(*args, **kwargs)
        first, second = (call(forms, func, args, kwargs) for _ in range(2))
        assert type(second) is type(expected)
        assert seen(first) == seen(second) == seen(expected)


def test_a_view_of_a_view_and_what_is_written_into_it():
    mode, forms = FakeTensorMode(), Forms()
    wide = tensors(mode)[0]
    with torch.no_grad(), mode:
        for _ in range(2):
            rows = call(forms, torch.Tensor.__getitem__, (wide, slice(1, 3)), {})
            turned = call(forms, torch.Tensor.transpose, (rows, 1, 2), {})
            assert turned.storage_offset() == 48
            assert turned.stride() == (48, 1, 8)
            before = wide._version
            turned.add_(1)
            assert wide._version == rows._version == before + 1


def test_under_modes_of_the_callers_own_calls_are_made():
    class Doubled(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            return torch.cat([made, made]) if func is torch.relu else made

    mode, forms = FakeTensorMode(), Forms()
    wide = tensors(mode)[0]
    with torch.no_grad(), mode:
        for _ in range(2):
            assert call(forms, torch.relu, (wide,), {}).shape[0] == 4
        with Doubled():
            assert call(forms, torch.relu, (wide,), {}).shape[0] == 8


def test_the_default_type_is_part_of_a_call():
    mode, forms = FakeTensorMode(), Forms()
    with torch.no_grad(), mode:
        whole = torch.ones(3, dtype=torch.int64)
        for dtype in (torch.float32, torch.float64, torch.float32):
            torch.set_default_dtype(dtype)
            try:
                assert call(forms, torch.mul, (whole, 2.0), {}).dtype == dtype
            finally:
                torch.set_default_dtype(torch.float32)


def test_parameters_of_a_run_with_gradients_are_not_remembered():
    mode = FakeTensorMode()
    wide = tensors(mode)[0]
    with mode:
        assert signature(torch.relu, (wide,), {}) is None
        with torch.no_grad():
            assert signature(torch.relu, (wide,), {}) is not None
            assert signature(torch.relu, (wide, object()), {}) is None


def test_other_arguments_give_another_form():
    mode, forms = FakeTensorMode(), Forms()
    wide, turned, row, _ = tensors(mode)

    def made(func, *args, **kwargs):
        return call(forms, func, args, kwargs)

    with torch.no_grad(), mode:
        assert made(torch.mean, wide, 1).shape == (4, 8)
        assert made(torch.mean, wide, 2).shape == (4, 6)
        assert made(torch.mean, wide, 2, True).shape == (4, 6, 1)
        assert made(torch.mul, wide, 2).dtype == torch.float32
        assert made(torch.mul, wide, 2.0).dtype == torch.float32
        assert made(torch.mul, wide, row.double()).dtype == torch.float64
        assert made(torch.mul, turned, 2).stride() == torch.mul(turned, 2).stride()


def test_a_constant_takes_part_as_a_form_beside_others_and_as_its_values_alone():
    mode, forms = FakeTensorMode(allow_non_fake_inputs=True), Forms()
    wide = tensors(mode)[0]
    with torch.no_grad(), mode:
        for _ in range(2):  # as caches of keys begin
            empty = torch.tensor([])
            assert empty.constant is not None
            assert call(forms, torch.cat, ([empty, wide], -2), {}).shape == (4, 6, 8)
            assert signature(torch.mul, (torch.tensor(2.0), wide), {}) is not None
        for number in (2.0, 3.0):
            made = call(forms, torch.mul, (torch.tensor(number), 2), {})
            assert made.item() == 2 * number


def test_on_the_meta_device_too():
    mode, forms = FakeTensorMode(), Forms()
    with torch.no_grad(), mode:
        one = torch.empty(2, 3, device="meta")
        for _ in range(2):
            made = call(forms, torch.add, (one, one), {})
            assert (made.shape, made.device.type) == ((2, 3), "meta")


def test_under_autocast_calls_are_made():
    mode, forms = FakeTensorMode(), Forms()
    wide, _, _, square = tensors(mode)

    def made():
        return call(forms, F.linear, (wide, square), {})

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
            assert call(forms, torch.Tensor.add_, (wide, 1), {}, seen=True) is wide


def test_real_tensors_are_made():
    forms, wide = Forms(), torch.ones(2, 3)
    with torch.no_grad():
        for factor in (2.0, 3.0, 2.0):
            made = call(forms, torch.mul, (wide, factor), {})
            assert torch.equal(made, wide * factor)
