"""What a sparse model stores and computes, beside the dense model of its shape."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import nn

from isoinit._reading.torch.names import named_modules, require_parameters
from isoinit._showing.table import render
from isoinit._writing.parametrized import parametrizations_of
from isoinit.sparse._mask import Masked
from isoinit.sparse.layers import Places, Scattered, SparseEmbedding, SparseLinear

STATES = 4
"""Numbers a weight takes in training: itself, its gradient, and the two moments of Adam."""


@dataclass(frozen=True)
class Cost:
    """What one weight takes, beside its dense form.

    Attributes:
        name: the weight's, as in the dense model.
        kept, weights: the numbers that are stored, and those of the dense weight.
        stored, dense_stored: bytes of the model: the numbers, and the places of a sparse weight.
        training, dense_training: the same with a gradient and the two moments of Adam.
        operations, dense_operations: multiplications and additions a position (an example, a token,
            a pixel) that the layer's product takes: two a weight.
        note: where nothing is saved, and why.
    """

    name: str
    kept: int
    weights: int
    stored: int
    dense_stored: int
    training: int
    dense_training: int
    operations: int
    dense_operations: int
    note: str = ""


@dataclass(frozen=True)
class Costs:
    """The costs of every weight of a model; print it for a table.

    Attributes:
        weights: one entry a weight matrix, kernel or table, in the order of the model.
        rest: the bytes of all other parameters, which are the same in both.
    """

    weights: tuple[Cost, ...]
    rest: int

    @property
    def total(self) -> Cost:
        """The sums over all weights, with the other parameters in the bytes."""
        sums = {
            name: sum(getattr(cost, name) for cost in self.weights)
            for name in Cost.__annotations__
            if name not in ("name", "note")
        }
        for name, times in (("stored", 1), ("training", STATES)):
            sums[name] += times * self.rest
            sums[f"dense_{name}"] += times * self.rest
        return Cost(name="total", **sums)

    def to_json(self) -> str:
        """The same as JSON."""
        total = asdict(self.total)
        return json.dumps({"weights": [asdict(c) for c in self.weights], "total": total}, indent=1)

    def __str__(self) -> str:
        notes = dict.fromkeys(cost.note for cost in self.weights if cost.note)
        numbers = {note: str(n) for n, note in enumerate(notes, start=1)}
        rows = [(*_cells(cost), numbers.get(cost.note, "")) for cost in (*self.weights, self.total)]
        return render(
            "the memory of the weights, and of the same weights stored dense",
            ("weight", "kept", "of", "stored", "dense", "training", "dense", "ops", "note"),
            rows,
            notes=[f"{number} {note}" for note, number in numbers.items()],
        )


def costs(model: nn.Module) -> Costs:
    """What each weight stores and computes, beside its dense form; nothing is run.

    Args:
        model: sparse in part or not at all.

    Raises:
        ArgumentError: if the model has no parameters.

    Example:
        >>> import torch
        >>> from isoinit import sparse
        >>> model = sparse.convert(torch.nn.Sequential(torch.nn.Linear(1000, 1000)), density=0.01)
        >>> total = sparse.costs(model).total
        >>> total.kept, total.weights, total.operations / total.dense_operations
        (10000, 1000000, 0.01)
    """
    parameters, _ = require_parameters(model, "cost")
    found = {cost.name: (cost, parameter) for cost, parameter in _costs(model)}
    counted = {id(parameter) for _, parameter in found.values()}
    rest = sum(p.nbytes for p in parameters.values() if id(p) not in counted)
    return Costs(tuple(cost for cost, _ in found.values()), rest)


def _costs(model: nn.Module) -> Iterator[tuple[Cost, torch.Tensor]]:
    for prefix, module in named_modules(model):
        if isinstance(module, (SparseLinear, SparseEmbedding)):
            table = isinstance(module, SparseEmbedding)
            times = 0 if table else 2
            yield (
                _cost(f"{prefix}weight", module.values, module.places, times, times),
                module.values,
            )
            continue
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.dim() > 1 and not _is_original(prefix):
                times = 0 if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) else 2
                why = vars(module).get("kept_dense", {}).get(name, "")
                yield _dense(prefix + name, parameter, times, why), parameter
        for name, parts in parametrizations_of(module).items():
            values, first = parts.original, parts[0]
            kind = type(module).__bases__[0].__name__
            if isinstance(first, Scattered):
                why = f"no saving of time: each call of {kind} builds a dense weight"
                yield _cost(prefix + name, values, first.places, 2, 0, why), values
            elif isinstance(first, Masked):
                why = "no saving: the weight is stored dense and multiplied by a mask"
                yield _dense(prefix + name, values, 2, why), values


def _is_original(prefix: str) -> bool:
    return "parametrizations" in prefix.split(".")


def _cost(
    name: str, values: torch.Tensor, places: Places, dense_times: int, times: int, note: str = ""
) -> Cost:
    rows, size = places.shape
    kept, weights, width = len(values), rows * size, values.element_size()
    held = sum(buffer.nbytes for buffer in places.buffers())
    stored, whole = kept * width + held, weights * width
    if not note and stored >= whole:
        note = "no saving of memory: the stored positions take as much memory as the zeros would"
    return Cost(
        name,
        kept,
        weights,
        stored,
        whole,
        STATES * kept * width + held,
        STATES * whole,
        times * kept if times else dense_times * weights,
        dense_times * weights,
        note,
    )


def _dense(name: str, parameter: torch.Tensor, times: int, note: str) -> Cost:
    number, size = parameter.numel(), parameter.nbytes
    operations = times * number
    return Cost(
        name,
        number,
        number,
        size,
        size,
        STATES * size,
        STATES * size,
        operations,
        operations,
        note,
    )


def _cells(cost: Cost) -> tuple[str, ...]:
    share = f"{cost.operations / cost.dense_operations:.3g}×" if cost.dense_operations else ""
    return (
        cost.name,
        f"{cost.kept:,}",
        f"{cost.weights:,}",
        *(_size(n) for n in (cost.stored, cost.dense_stored, cost.training, cost.dense_training)),
        share,
    )


def _size(number: int) -> str:
    """Bytes in a unit that leaves three digits."""
    power = min(int(math.log(max(number, 1), 1024)), 4)
    return f"{number / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
