"""Products with a parameter that are summed up afterwards: `(x * w).sum(-1)` is `x @ w`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from isoinit._reading.generated import Scale
from isoinit._reading.graph import Detail, Op, Use
from isoinit._reading.torch.readers.call import Weight
from isoinit._reading.torch.readers.products import contracted


@dataclass(frozen=True)
class Contraction:
    """A product and the sum of it.

    Attributes:
        product, total: the two operations, by index.
        uses: the parameter's use as a weight.
    """

    product: int
    total: int
    uses: tuple[Use, ...]


class Contractions:
    """The products of a recording that are summed up afterwards."""

    def __init__(self) -> None:
        self._products: dict[int, tuple[Op, Weight]] = {}  # of a signal and a parameter
        self._found: list[Contraction] = []

    def note(
        self,
        op: Op,
        weights: Sequence[Weight],
        sizes: Mapping[int, tuple[int, ...]],
        producer: Callable[[int], Op | None],
    ) -> None:
        """Look at an operation as it is recorded.

        Args:
            op: the operation.
            weights: the tensors that it read which are made of parameters.
            sizes: the shape of every value.
            producer: the operation that made a value.
        """
        if op.name == "mul" and len(weights) == 1:
            self._products[op.outputs[0]] = (op, weights[0])
        elif op.name == "sum" and op.inputs and op.inputs[0] in self._products:
            product, weight = self._products[op.inputs[0]]
            if len(product.inputs) == 1:
                maker = producer(product.inputs[0])
                found = _contraction(product, op, weight, sizes, maker)
                self._found += [found] if found else []

    def scales(self) -> dict[int, Scale]:
        """Return what multiplies a signal and is not summed up right behind, by the operation."""
        maps = {one.product for one in self._found}
        return {
            product.index: _scale(weight)
            for product, weight in self._products.values()
            if product.index not in maps and len(product.inputs) == 1
        }

    def as_maps(self, ops: Sequence[Op]) -> tuple[Op, ...]:
        """Return the operations, contractions as maps: the product moves, the sum has the weight."""
        changed = list(ops)
        for one in self._found:
            product = ops[one.product]
            value = product.outputs[0]
            if sum(value in op.inputs for op in ops) == 1:  # nothing else reads the product
                changed[one.product] = replace(
                    product, name="expand", kind="move", uses=(), replay=None, detail=Detail()
                )
                changed[one.total] = replace(ops[one.total], kind="map", uses=one.uses, replay=None)
        return tuple(changed)


def _scale(weight: Weight) -> Scale:
    def as_weight(in_: Sequence[int], out: Sequence[int]) -> tuple[Use, ...]:
        return tuple(weight.uses("weight", lambda shape: contracted(weight, shape, in_, out)))

    return Scale(tuple(weight.tensor.shape), as_weight)


def _contraction(
    product: Op,
    total: Op,
    weight: Weight,
    sizes: Mapping[int, tuple[int, ...]],
    maker: Op | None,
) -> Contraction | None:
    """Return a product and its sum as one contraction; None if what is summed is not the weight's.

    `maker` made the signal of the product. A sum over the layers of a stack only mixes them, and is
    none.
    """
    if any(use.slot != "scale" for use in product.uses):
        return None
    made, read = sizes[product.outputs[0]], sizes[product.inputs[0]]
    rank = weight.tensor.dim()
    axes = [axis - len(made) + rank for axis in total.detail.dims]
    in_ = [axis for axis in axes if axis >= 0 and weight.tensor.shape[axis] > 1]
    if not in_ or (maker is not None and maker.name == "stack"):
        return None
    fresh = len(made) - len(read)  # axes of the product that the signal lacks
    out = [
        axis
        for axis in range(rank)
        if axis not in in_
        and weight.tensor.shape[axis] > 1
        and ((at := axis + len(made) - rank) < fresh or read[at - fresh] == 1)
    ]
    uses = weight.uses("weight", lambda shape: contracted(weight, shape, in_, out))
    return Contraction(product.index, total.index, tuple(uses))
