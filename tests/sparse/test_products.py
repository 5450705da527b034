"""The product with a sparse matrix and its gradients, against dense ones: any pattern and batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isoinit.sparse import products
from isoinit.sparse import threads as work
from isoinit.sparse.products import dense, sparse_linear, transpose

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def pattern(rows, size, seed, density=0.3):
    """A random pattern with empty rows and columns, and rows of many lengths."""
    mask = torch.rand(rows, size, generator=torch.Generator().manual_seed(seed)) < density
    mask[:: max(rows // 3, 1)] = False
    counts = mask.sum(1)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()
    return mask.nonzero()[:, 1].int(), starts


def compare(rows, size, batch, dtype, seed=0, threads=1):
    torch.manual_seed(seed)
    columns, starts = pattern(rows, size, seed)
    values = torch.randn(len(columns), dtype=torch.float64).to(dtype).requires_grad_()
    x = torch.randn(batch, size, dtype=torch.float64).to(dtype).requires_grad_()
    bias = torch.randn(rows, dtype=torch.float64).to(dtype).requires_grad_()
    g = torch.randn(batch, rows, dtype=torch.float64).to(dtype)
    torch.set_num_threads(threads)
    places = [columns, starts, *transpose(columns, starts, size)]
    y = sparse_linear(x, values, places, bias)
    found = [y, *torch.autograd.grad(y, (x, values, bias), g)]
    wide = [t.detach().double().requires_grad_() for t in (x, values, bias)]
    expected = wide[0] @ dense(wide[1], columns, starts, size).T + wide[2]
    expected = [expected, *torch.autograd.grad(expected, wide, g.double())]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        scale = theirs.abs().max().clamp_min(1) if theirs.numel() else 1
        assert torch.allclose(ours.double() / scale, theirs / scale, atol=TOLERANCE[dtype])


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 40),
    size=st.integers(1, 40),
    batch=st.integers(0, 140),
    seed=st.integers(0, 1000),
    threads=st.integers(1, 3),
)
def test_products_and_gradients(rows, size, batch, seed, threads):
    before = torch.get_num_threads()
    try:
        compare(rows, size, batch, torch.float32, seed, threads)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("batch", [1, 7, 64, 100])
def test_types(dtype, batch):
    compare(37, 53, batch, dtype)


@pytest.mark.parametrize("batch", [1, 64, 130])
@pytest.mark.parametrize(("rows", "size"), [(30, 2500), (2500, 30), (600, 700)])
def test_matrices_that_take_several_tiles(rows, size, batch):
    compare(rows, size, batch, torch.float32)


@pytest.mark.parametrize("batch", [1, 64])
def test_without_numba(monkeypatch, batch):
    monkeypatch.setattr(products, "numba_fault", lambda: "gone")
    compare(37, 53, batch, torch.float32)


def test_the_same_bits_on_any_number_of_threads():
    columns, starts = pattern(500, 300, 0)
    x, values = (
        np.random.default_rng(0).standard_normal(s).astype(np.float32)
        for s in ((2, 300, 64), len(columns))
    )
    places = values, columns.numpy(), starts.numpy(), x
    one, three = (work.multiply(*places, threads) for threads in (1, 3))
    assert (one == three).all()
    again = [work.correlate(one, x, *places[1:3], threads) for threads in (1, 3)]
    assert (again[0] == again[1]).all()


def test_values_in_an_order():
    columns, starts = pattern(500, 300, 0)
    rng = np.random.default_rng(0)
    x, values = (rng.standard_normal(s).astype(np.float32) for s in ((2, 300, 64), len(columns)))
    order = rng.permutation(len(columns)).astype(np.int32)
    places = columns.numpy(), starts.numpy(), x, 2
    in_order = work.multiply(values, *places, order)
    assert (in_order == work.multiply(values[order], *places)).all()


def test_only_what_is_asked_for_is_differentiated():
    columns, starts = pattern(8, 6, 0)
    places = [columns, starts, *transpose(columns, starts, 6)]
    values = torch.randn(len(columns))
    x = torch.randn(4, 6, requires_grad=True)
    sparse_linear(x, values, places, None).sum().backward()
    assert x.grad is not None
    kept = values.clone().requires_grad_()
    sparse_linear(x.detach(), kept, places, None).sum().backward()
    assert kept.grad is not None
    bias = torch.zeros(8, requires_grad=True)
    sparse_linear(x.detach(), values, places, bias).sum().backward()
    assert (bias.grad == 4).all()


@pytest.mark.parametrize("bias", [None, torch.zeros(8, requires_grad=True)])
def test_the_operation_is_registered_as_it_must_be(bias):
    columns, starts = pattern(8, 6, 0)
    places = [columns, starts, *transpose(columns, starts, 6)]
    values = torch.randn(len(columns), requires_grad=True)
    x = torch.randn(4, 6, requires_grad=True)
    torch.library.opcheck(sparse_linear, (x, values, places, bias))
