"""The vocabulary: what primitives are called in a graph, which has torch's names."""

from __future__ import annotations

NAMES = {
    "add_any": "add",
    "logistic": "sigmoid",
    "max": "maximum",
    "min": "minimum",
    "integer_pow": "pow",
    "select_n": "where",
    "clamp": "clamp",
    "convert_element_type": "to",
    "reduce_sum": "sum",
    "reduce_max": "amax",
    "reduce_min": "amin",
    "reduce_prod": "prod",
    "reduce_and": "all",
    "reduce_or": "any",
    "dot_general": "matmul",
    "concatenate": "cat",
    "top_k": "topk",
    "rem": "remainder",
    "scatter-add": "index_add",
    "scatter_add": "index_add",
}


def torch_name(name: str) -> str:
    """Return what a primitive is called in a graph."""
    return NAMES.get(name, name)
