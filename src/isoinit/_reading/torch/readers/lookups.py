"""Tables, of which rows are read."""

from __future__ import annotations

import torch

from isoinit._reading.torch.looking import looking
from isoinit._reading.torch.readers.call import Call, Step
from isoinit.initializers.scale import fans


def embedding(call: Call) -> list[Step]:
    """Read `F.embedding` and `F.embedding_bag`, and torch's own functions of these names."""
    read = looking(call.name, call.args, call.kwargs)
    weight = call.weight(read.table)
    if weight is None:
        return []
    bag = read.bag if read.pool == "sum" else 1
    inputs = call.values(read.rows)
    # Indices that do not come from the example count places: 0, 1, 2, ...
    slot = "table" if inputs else "position"
    uses = weight.uses(slot, lambda shape: fans.embedding(shape, bag, read.padding))
    return [Step(call.name, "lookup", inputs, tuple(uses))]


def lookup(call: Call) -> list[Step]:
    """Read `table[indices]`: rows of a parameter, chosen by the example or by constants."""
    weight = call.weight(call.get(0, "input"))
    indices = call.args[1] if call.name == "getitem" else call.get(2, "index")
    if weight is None or not weight.exact or not isinstance(indices, torch.Tensor):
        return []
    chosen = call.values(indices)
    shape = weight.shapes[weight.names[0]]
    if not chosen or len(shape) != 2 or indices.is_floating_point() or indices.dtype == torch.bool:
        return []  # a stack of matrices, one for each expert: still a weight
    return [Step("embedding", "lookup", chosen, tuple(weight.uses("table", fans.embedding)))]


def sparse_embedding(call: Call) -> list[Step]:
    """Read `sparse_embedding(index, values, columns, shape, padding)`."""
    weight = call.weight(call.get(1, "values"))
    if weight is None:
        return []
    inputs = call.values(call.get(0, "index"))
    slot = "table" if inputs else "position"
    whole = fans.embedding(call.get(3, "shape"))
    uses = weight.uses(slot, lambda shape: fans.kept(shape, whole))
    return [Step("embedding", "lookup", inputs, tuple(uses))]
