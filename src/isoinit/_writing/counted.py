"""How often a parameter was written since it was made, or since a plan filled it.

torch counts the writes of each tensor. An optimizer writes at each step, a constructor a few times.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any
from weakref import ref

import torch

# The count of each parameter when a plan filled it, by identity, and what drops it with the parameter;
# `WeakTensorKeyDictionary` takes ten times as long.
_filled: dict[int, tuple[int, Any]] = {}


def count_anew(parameters: Iterable[torch.Tensor]) -> None:
    """Count the writes of parameters from now on, for a plan has filled them."""
    for parameter in parameters:
        try:
            version = parameter._version
        except RuntimeError:  # torch does not count what is written in inference mode
            continue
        key = id(parameter)
        end = _filled[key][1] if key in _filled else ref(parameter, partial(_forget, key))
        _filled[key] = version, end


def _forget(key: int, _: Any) -> None:
    _filled.pop(key, None)


def writes_of(parameter: torch.Tensor) -> int:
    """Return how often a parameter was written; 0 where torch does not count (inference mode)."""
    if parameter.is_inference():
        return 0
    before, _ = _filled.get(id(parameter), (0, None))
    return int(parameter._version - before)
