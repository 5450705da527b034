"""Layers that store and compute the weights that are not zero, and nothing else.

from isoinit import sparse

model = sparse.convert(model, isoinit.plan(model, batch), density=0.05)
print(sparse.costs(model))       # weights, bytes and operations beside the dense model's

Use it where weights, their gradients and the optimizer's state fill the memory, or where wide layers
take the time: large linear layers and tables at a tenth of their weights and less. Not for small or
narrow models, and not above four tenths, where a dense product is as fast; convolutions and recurrent
layers save memory and no time.
"""

from isoinit.sparse._convert import convert
from isoinit.sparse._costs import Cost, Costs, costs
from isoinit.sparse._mask import mask, remove_masks
from isoinit.sparse.budget import spread_budget
from isoinit.sparse.dense import adopt, from_dense, to_dense
from isoinit.sparse.layers import Places, SparseEmbedding, SparseLinear
from isoinit.sparse.regrow import Regrow

__all__ = [
    "Cost",
    "Costs",
    "Places",
    "Regrow",
    "SparseEmbedding",
    "SparseLinear",
    "adopt",
    "convert",
    "costs",
    "from_dense",
    "mask",
    "remove_masks",
    "spread_budget",
    "to_dense",
]
