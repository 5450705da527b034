"""How often a parameter was written since it was made, or since a plan filled it.

torch counts the writes of each tensor. An optimizer writes at each step, a constructor a few times.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from weakref import ref

import torch

# The count of each parameter when a plan filled it, by identity, and what drops it with the parameter;
# `WeakTensorKeyDictionary` takes ten times as long.
_filled: dict[int, int] = {}
_ends: dict[int, Any] = {}


def count_anew(parameters: Sequence[torch.Tensor]) -> None:
    """Count the writes of parameters from now on, for a plan has filled them."""
    try:
        versions = [parameter._version for parameter in parameters]
    except RuntimeError:  # torch does not count what is written in inference mode
        parameters = [parameter for parameter in parameters if not parameter.is_inference()]
        versions = [parameter._version for parameter in parameters]
    _filled.update(zip(map(id, parameters), versions, strict=True))
    for parameter in parameters:
        if (key := id(parameter)) not in _ends:
            _ends[key] = ref(parameter, partial(_forget, key))


def _forget(key: int, _: Any) -> None:
    _filled.pop(key, None)
    _ends.pop(key, None)


def writes_of(parameter: torch.Tensor) -> int:
    """Return how often a parameter was written; 0 where torch does not count (inference mode)."""
    if parameter.is_inference():
        return 0
    return int(parameter._version - _filled.get(id(parameter), 0))
