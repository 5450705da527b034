"""How often a parameter was written since it was made, or since a plan filled it.

torch counts the writes of each tensor. An optimizer writes at each step, a constructor a few times.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

_filled: Any = WeakTensorKeyDictionary()  # the count of each parameter when a plan filled it
_lock = threading.RLock()


def count_anew(parameters: Iterable[torch.Tensor]) -> None:
    """Count the writes of parameters from now on, for a plan has filled them."""
    with _lock:
        for parameter in parameters:
            if not parameter.is_inference():
                _filled[parameter] = parameter._version


def writes_of(parameter: torch.Tensor) -> int:
    """Return how often a parameter was written; 0 where torch does not count (inference mode)."""
    if parameter.is_inference():
        return 0
    with _lock:
        return int(parameter._version - _filled.get(parameter, 0))
