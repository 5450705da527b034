"""The product of a batch with a sparse matrix, and its gradients, as an operation of torch's own kind.

Routes, each for where it was measured to win (benchmarks/sparse_training.py):

- on the processor, the kernels of `isoinit.sparse.kernels`, for any pattern, batch and density;
- on a GPU, and where Numba is missing, a dense matrix made for the call, of which only the kept
  weights get a gradient: GPUs multiply it faster than scattered weights down to a few percent of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch.overrides import (
    handle_torch_function,
    has_torch_function_unary,
    has_torch_function_variadic,
)

from isoinit._drawing.backend import numba_fault


class Transposed(NamedTuple):
    """A pattern by columns: the row of each kept weight, its place in `values`; column by column."""

    rows: torch.Tensor
    order: torch.Tensor
    begins: torch.Tensor


def transpose(columns: torch.Tensor, starts: torch.Tensor, size: int) -> Transposed:
    """The same pattern by columns; `begins` says where each of them starts."""
    order = columns.argsort(stable=True)
    rows = row_of(starts, len(columns))[order].int()
    begins = F.pad(torch.bincount(columns, minlength=size).cumsum(0), (1, 0)).int()
    return Transposed(rows, order.int(), begins)


@torch.library.custom_op("isoinit::sparse_linear", mutates_args=())
def sparse_linear(
    x: torch.Tensor,
    values: torch.Tensor,
    places: Sequence[torch.Tensor],
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """x·Wᵀ + b for a batch (examples, inputs): (examples, outputs), of the type of `x`.

    The bias belongs to the operation, because torch would add it by threads of its own, which then
    wait awake for milliseconds and take the processors from those of the kernels.

    Args:
        x: the batch.
        values: the kept weights, row by row.
        places: the column of each, where each row begins, and the same by columns: see `Transposed`.
        bias: of each output, of the type of `x`, or None.
    """
    columns, starts, *_, begins = places
    if _by_kernels(x):
        return _forward(x, values, columns, starts, bias)
    return F.linear(x, dense(values, columns, starts, len(begins) - 1).to(x.dtype), bias)


@sparse_linear.register_fake
def _(
    x: torch.Tensor,
    _: torch.Tensor,
    places: Sequence[torch.Tensor],
    __: torch.Tensor | None,
) -> torch.Tensor:
    return x.new_empty(x.shape[0], places[1].shape[0] - 1)


@torch.library.custom_op("isoinit::sparse_linear_backward", mutates_args=())
def _backward(
    g: torch.Tensor,
    x: torch.Tensor,
    values: torch.Tensor,
    places: Sequence[torch.Tensor],
    wanted: Sequence[bool],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients to the batch, the values and the bias; an empty one where it is not wanted."""
    columns, starts, *_, begins = places
    if _by_kernels(x):
        return _backward_by_kernels(g, x, values, places, wanted)
    to_batch, to_values, to_bias = x.new_empty(0), values.new_empty(0), g.new_empty(0)
    if wanted[0]:
        to_batch = g @ dense(values, columns, starts, len(begins) - 1).to(g.dtype)
    if wanted[1]:
        whole = g.T @ x
        to_values = whole[row_of(starts, len(columns)), columns.long()].to(values.dtype)
    if wanted[2]:
        to_bias = g.sum(0)
    return to_batch, to_values, to_bias


@_backward.register_fake
def _(
    g: torch.Tensor,
    x: torch.Tensor,
    values: torch.Tensor,
    _: Sequence[torch.Tensor],
    wanted: Sequence[bool],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    shapes = (x, x.shape), (values, values.shape), (g, g.shape[1:])
    whole = [
        t.new_empty(shape if want else 0) for (t, shape), want in zip(shapes, wanted, strict=True)
    ]
    return whole[0], whole[1], whole[2]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ARG001
    x, values, places, _ = inputs
    ctx.save_for_backward(x, values, *places)


def _differentiate(ctx: Any, g: torch.Tensor) -> tuple[Any, ...]:
    x, values, *places = ctx.saved_tensors
    to_x, to_values, _, to_bias = ctx.needs_input_grad
    wanted = [to_x, to_values, to_bias]
    parts = _backward(g, x, values, places, wanted)
    found = [part if want else None for part, want in zip(parts, wanted, strict=True)]
    return *found[:2], [None] * len(places), found[2]


sparse_linear.register_autograd(_differentiate, setup_context=_setup)


def sparse_embedding(
    index: torch.Tensor,
    values: torch.Tensor,
    columns: torch.Tensor,
    shape: tuple[int, int],
    padding: int | None,
) -> torch.Tensor:
    """Rows of a table (rows, size) that keeps as many weights in each row: (*index.shape, size).

    Args:
        index: the rows.
        values: the kept weights, row by row.
        columns: the column of each.
        shape: rows and size.
        padding: the row whose weights are not trained.
    """
    if has_torch_function_variadic(index, values):  # so that a trace sees one call
        given = index, values, columns, shape, padding
        found: torch.Tensor = handle_torch_function(sparse_embedding, given[:2], *given)
        return found
    kept = F.embedding(index, values.view(shape[0], -1), padding)
    places = F.embedding(index, columns.view(shape[0], -1)).long()
    return kept.new_zeros(*index.shape, shape[1]).scatter(-1, places, kept)


def scatter_kept(
    values: torch.Tensor,
    columns: torch.Tensor,
    starts: torch.Tensor,
    grid: tuple[int, ...],
    axes: tuple[int, ...],
    shape: tuple[int, ...],
) -> torch.Tensor:
    """A parameter of what it keeps, with its zeros; differentiable in the values.

    Args:
        values: the kept weights, row by row, of the matrix that the pattern is of.
        columns: the column of each.
        starts: where each row begins.
        grid: the shape of that matrix with its axes pulled apart.
        axes: how they are permuted.
        shape: and joined to the parameter's.
    """
    if has_torch_function_unary(values):  # so that a trace sees one call
        given = values, columns, starts, grid, axes, shape
        found: torch.Tensor = handle_torch_function(scatter_kept, given[:1], *given)
        return found
    size = math.prod(grid) // (len(starts) - 1)
    return dense(values, columns, starts, size).reshape(grid).permute(axes).reshape(shape)


def row_of(starts: torch.Tensor, kept: int) -> torch.Tensor:
    """The row of each kept weight, as int64."""
    numbers = torch.arange(len(starts) - 1, device=starts.device)
    return torch.repeat_interleave(numbers, starts.diff().long(), output_size=kept)


def dense(
    values: torch.Tensor, columns: torch.Tensor, starts: torch.Tensor, size: int
) -> torch.Tensor:
    """The matrix (rows, size), with its zeros; differentiable in the values."""
    rows = len(starts) - 1
    places = row_of(starts, len(columns)) * size + columns
    whole = values.new_zeros(rows * size).index_put((places,), values)
    return whole.reshape(rows, size)


def _by_kernels(x: torch.Tensor) -> bool:
    """Whether a tensor is where the compiled kernels run."""
    return x.device.type == "cpu" and not numba_fault()


def _arrays(*tensors: torch.Tensor) -> list[Any]:
    """As arrays of what the kernels compute in: float32, or float64 for that."""
    floats = [t.detach() for t in tensors]
    return [
        (t if t.dtype in (torch.float32, torch.float64) else t.float()).contiguous().numpy()
        if t.is_floating_point()
        else t.numpy()
        for t in floats
    ]


def _forward(
    x: torch.Tensor,
    values: torch.Tensor,
    columns: torch.Tensor,
    starts: torch.Tensor,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    from isoinit.sparse import threads as work  # loading Numba is slow

    threads = torch.get_num_threads()
    batch, kept, places, begins = _arrays(x, values.to(_wide(x)), columns, starts)
    y = np.empty((len(batch), len(begins) - 1), batch.dtype)
    if len(batch) == 1:
        y[0] = work.multiply_one(kept, places, begins, batch[0], threads)
    elif len(batch):
        packed = work.pack(batch, work.lanes_for(len(batch)), threads)
        work.unpack(work.multiply(kept, places, begins, packed, threads), y, threads)
    if bias is not None:
        y += _arrays(bias)[0]
    return torch.from_numpy(y).to(x.dtype)


def _backward_by_kernels(
    g: torch.Tensor,
    x: torch.Tensor,
    values: torch.Tensor,
    places: Sequence[torch.Tensor],
    wanted: Sequence[bool],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    from isoinit.sparse import threads as work

    threads = torch.get_num_threads()
    gradient, kept, columns, starts, rows, order, begins = _arrays(g, values.to(_wide(x)), *places)
    lanes = work.lanes_for(len(gradient))
    packed = work.pack(gradient, lanes, threads)
    to_batch, to_values, to_bias = x.new_empty(0), values.new_empty(0), g.new_empty(0)
    if wanted[0]:
        part = np.empty(tuple(x.shape), gradient.dtype)
        work.unpack(work.multiply(kept, rows, begins, packed, threads, order), part, threads)
        to_batch = torch.from_numpy(part).to(x.dtype)
    if wanted[1]:
        inputs = work.pack(_arrays(x)[0], lanes, threads)
        found = work.correlate(packed, inputs, columns, starts, threads)
        to_values = torch.from_numpy(found).to(values.dtype)
    if wanted[2]:  # over panels, because numpy adds up one axis after the other
        to_bias = torch.from_numpy(packed.sum(2).sum(0)).to(g.dtype)
    return to_batch, to_values, to_bias


def _wide(x: torch.Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
