"""Attention scores: what a softmax shares out, where no layer of its own makes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from isoinit._reading.graph import PRODUCTS, Op
from isoinit._reading.torch.replay import Recorded

FAR = 12  # operations between a product and its softmax: scales, masks, biases of positions
NAMES = "query key value embed_dim_to_check num_heads in_proj_weight in_proj_bias"


class Scores(NamedTuple):
    """The scores of one attention.

    Attributes:
        sides: the queries and keys, or what makes both, as values of the graph.
        tensor: the scores.
    """

    sides: tuple[int, ...]
    tensor: torch.Tensor


def scores_of(op: Op, ops: Sequence[Op], call: Recorded) -> Scores | None:
    """Return the scores of an operation that has just run; None if it is no attention.

    Args:
        op: the operation.
        ops: all that have run, this one last.
        call: what made it.
    """
    if op.name == "scaled_dot_product_attention" and op.inputs:
        return Scores(op.inputs[:2], _of_function(call))
    if op.name == "softmax" and (sides := _product_before(op, ops)):
        given = call.args[0] if call.args else call.kwargs["input"]
        return Scores(sides, given)
    inside = ops[-2] if len(ops) > 1 else op
    if inside.kind == "attention" and op.inputs == inside.outputs:
        return Scores(inside.outputs, _of_layer(call))
    return None


def _product_before(op: Op, ops: Sequence[Op]) -> tuple[int, ...]:
    """Return the sides of the product of two signals that a softmax works on; () without one."""
    makers = {value: each for each in ops[-4 * FAR :] for value in each.outputs}
    waiting = list(op.inputs)
    for _ in range(FAR):
        maker = makers.get(waiting.pop()) if waiting else None
        if maker is None or maker.kind not in ("move", "other"):
            continue
        if maker.name in PRODUCTS and len(maker.inputs) == 2:
            return maker.inputs
        waiting += maker.inputs
    return ()


def _of_function(call: Recorded) -> torch.Tensor:
    """The scores inside `F.scaled_dot_product_attention`, before the mask."""
    given = {**dict(zip(("query", "key"), call.args, strict=False)), **call.kwargs}
    query, key = given["query"], given["key"]
    if given.get("enable_gqa"):
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scale = given.get("scale")
    scores: torch.Tensor = query @ key.transpose(-1, -2)
    return scores * float(query.shape[-1] ** -0.5 if scale is None else scale)


def _of_layer(call: Recorded) -> torch.Tensor:
    """The scores inside `F.multi_head_attention_forward`, before the mask."""
    given = {**dict(zip(NAMES.split(), call.args, strict=False)), **call.kwargs}
    width, heads = given["embed_dim_to_check"], given["num_heads"]
    packed, bias = given["in_proj_weight"], given["in_proj_bias"]
    weights: list[Any] = [given.get("q_proj_weight"), given.get("k_proj_weight")]
    if packed is not None:
        weights = [packed[:width], packed[width : 2 * width]]
    biases = [None, None] if bias is None else [bias[:width], bias[width : 2 * width]]
    sides = (given["query"], given["key"])
    query, key = (
        _by_head(nn.functional.linear(side, weight, shift), heads)
        for side, weight, shift in zip(sides, weights, biases, strict=True)
    )
    scores: torch.Tensor = query @ key.transpose(-1, -2) / math.sqrt(width // heads)
    return scores


def _by_head(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Places × examples × units, or places × units, as examples × heads × places × units."""
    tensor = tensor if tensor.dim() == 3 else tensor[:, None]
    parts: torch.Tensor = tensor.unflatten(-1, (heads, -1))
    return parts.permute(1, 2, 0, 3)
