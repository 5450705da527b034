"""Layers that store the weights they keep, and nothing of the others.

The kept weights are one plain parameter, `values`, so that any optimizer works and holds its state for
them alone. Their places are int32 buffers, saved with the model; the pattern by columns,
which the backward pass reads, is worked out from them and not saved.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from isoinit.errors import ArgumentError
from isoinit.sparse.products import dense, scatter_kept, sparse_embedding, sparse_linear, transpose


class Places(nn.Module):
    """Where the kept weights of a matrix (rows, size) are, row by row, sorted within a row.

    Attributes:
        columns: the column of each kept weight, int32: (kept,).
        starts: where each row begins in `columns`, int32: (rows + 1,).
        size: how many columns there are.
        rows, order, begins: the same by columns, where that is needed: the row of each kept weight,
            its place in `columns`, and where each column begins.
    """

    columns: torch.Tensor
    starts: torch.Tensor

    def __init__(
        self, columns: torch.Tensor, starts: torch.Tensor, size: int, *, by_columns: bool = False
    ) -> None:
        super().__init__()
        self.register_buffer("columns", columns.int())
        self.register_buffer("starts", starts.int())
        self.size = size
        self.by_columns = by_columns
        if by_columns:
            for name, part in self._turned().items():
                self.register_buffer(name, part, persistent=False)
        watch_loading(self)

    def _turned(self) -> dict[str, torch.Tensor]:
        return transpose(self.columns, self.starts, self.size)._asdict()

    @property
    def kept(self) -> int:
        """The number of kept weights."""
        return len(self.columns)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, size) of the matrix with its zeros."""
        return len(self.starts) - 1, self.size

    @property
    def density(self) -> float:
        """The share of weights that are kept."""
        rows, size = self.shape
        return self.kept / max(rows * size, 1)

    @property
    def regular(self) -> bool:
        """Whether all rows keep the same number of weights."""
        counts = self.starts.diff()
        return bool((counts == counts[:1]).all())

    def move(self, columns: torch.Tensor, starts: torch.Tensor) -> None:
        """Keep as many weights at other places: in place, by columns too."""
        self.columns.copy_(columns)
        self.starts.copy_(starts)
        if self.by_columns:
            for name, part in self._turned().items():
                getattr(self, name).copy_(part)


def watch_loading(module: nn.Module) -> None:
    """Have a module ask, before it loads a state dict, whether that keeps the same weights."""
    register: Any = module.register_load_state_dict_pre_hook
    register(refuse_other_places)


def refuse_other_places(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Refuse a state dict whose kept weights lie elsewhere than the module's, before it is loaded.

    A hook of each `Places`, and of a converted model's root, which asks for all of its layers before
    the first of them is written.

    Raises:
        ArgumentError: naming the layer; nothing was loaded.
    """
    for name, places in module.named_modules(prefix=prefix.removesuffix(".")):
        if not isinstance(places, Places):
            continue
        for what in ("columns", "starts"):
            own: torch.Tensor = getattr(places, what)
            theirs: Any = state.get(f"{name}.{what}" if name else what)
            same = theirs is None or (
                theirs.shape == own.shape and torch.equal(theirs.to(own.device), own)
            )
            if not same:
                layer = name.rpartition(".")[0] or "the layer"
                raise ArgumentError(
                    "nothing was loaded: the state dict and the model keep different weights of "
                    f"{layer!r} ({what!r} differ: {len(theirs)} entries in the state dict, "
                    f"{len(own)} in the model). Convert with the density, pattern and seed of the "
                    "saved model, or first call isoinit.sparse.adopt(model, state_dict) to take "
                    "over its positions"
                )


class _Stored(nn.Module):
    """A layer that stores what it keeps of its weight.

    Attributes:
        values: the kept weights, row by row: (kept,).
        places: where they are.
    """

    values: nn.Parameter
    places: Places

    @property
    def weight(self) -> torch.Tensor:
        """The weight with its zeros, made anew for each reading; differentiable in `values`."""
        places = self.places
        return dense(self.values, places.columns, places.starts, places.size)


class SparseLinear(_Stored):
    """`torch.nn.Linear` with a sparse weight: y = x·Wᵀ + b, the kept weights of W stored alone.

    Made by `isoinit.sparse.convert`. State, gradients and optimizer state take memory for the kept
    weights only, and so does the work of a step.

    Attributes:
        in_features, out_features: the sides of W.
        values: the kept weights, row by row: (kept,).
        places: where they are.
        bias: (out_features,), or None.
    """

    def __init__(self, values: nn.Parameter, places: Places, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.out_features, self.in_features = places.shape
        self.values = values
        self.places = places
        self.bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features)."""
        batch, p = x.reshape(-1, self.in_features), cast("Any", self.places)
        places = [p.columns, p.starts, p.rows, p.order, p.begins]
        bias = None if self.bias is None else self.bias.to(x.dtype)
        y: torch.Tensor = sparse_linear(batch, self.values, places, bias)
        return y.reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """What printing the model shows."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, {_kept(self.places)}"
        )


class SparseEmbedding(_Stored):
    """`torch.nn.Embedding` whose rows keep the same number of weights each, stored alone.

    Made by `isoinit.sparse.convert`.

    Attributes:
        num_embeddings, embedding_dim, padding_idx: as of `torch.nn.Embedding`.
        values: the kept weights, row by row: (kept,).
        places: where they are.
    """

    def __init__(self, values: nn.Parameter, places: Places, padding_idx: int | None) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = places.shape
        self.padding_idx = padding_idx
        self.values = values
        self.places = places

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        """Whole numbers of any shape to (..., embedding_dim)."""
        return sparse_embedding(
            index, self.values, self.places.columns, self.places.shape, self.padding_idx
        )

    def extra_repr(self) -> str:
        """What printing the model shows."""
        return f"{self.num_embeddings}, {self.embedding_dim}, {_kept(self.places)}"


class Scattered(nn.Module):
    """A parametrization that makes a dense parameter of its kept weights, for each forward.

    For layers that nothing here multiplies sparsely (convolutions, recurrent layers, attention): the
    optimizer's memory is saved, time is not.

    Attributes:
        places: where the kept weights are, in the pattern's own matrix.
        grid: the shape of that matrix with its axes pulled apart, and `axes` how they are permuted
            and joined to the parameter's `shape`.
    """

    def __init__(
        self, places: Places, grid: tuple[int, ...], axes: tuple[int, ...], shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.places = places
        self.grid, self.axes, self.shape = grid, axes, shape

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The parameter."""
        places = self.places.columns, self.places.starts
        return scatter_kept(values, *places, self.grid, self.axes, self.shape)

    def extra_repr(self) -> str:
        """What printing the model shows."""
        return f"{tuple(self.shape)}, {_kept(self.places)}"


def _kept(places: Places) -> str:
    return f"kept={places.kept} ({places.density:.3g})"
