"""Products with a parameter that are summed up afterwards: `(x * w).sum(-1)` is `x @ w`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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


def contraction(
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
    if len(product.inputs) != 1 or any(use.slot != "scale" for use in product.uses):
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


def as_maps(ops: Sequence[Op], found: Sequence[Contraction]) -> tuple[Op, ...]:
    """Return the operations with contractions as maps: the product moves, the sum has the weight."""
    changed = list(ops)
    for one in found:
        product = ops[one.product]
        value = product.outputs[0]
        if sum(value in op.inputs for op in ops) == 1:  # nothing else reads the product
            changed[one.product] = replace(
                product, name="expand", kind="move", uses=(), replay=None, detail=Detail()
            )
            changed[one.total] = replace(ops[one.total], kind="map", uses=one.uses, replay=None)
    return tuple(changed)
