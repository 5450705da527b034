"""Has every random function of `torch.nn.init` ask a `TorchFunctionMode` before it works."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from torch import nn
from torch.nn.parameter import is_lazy
from torch.overrides import handle_torch_function, has_torch_function_variadic

# Functions of `torch.nn.init` that work on the tensor without asking a `TorchFunctionMode` first.
UNASKED = ("trunc_normal_", "orthogonal_", "sparse_")

_P = ParamSpec("_P")
_R = TypeVar("_R")
_lock = threading.Lock()
_installed = 0


@contextmanager
def asking_first() -> Iterator[None]:
    """Have the functions of `UNASKED` ask first inside, as torch's other initializers do.

    Under any of the names by which modules have imported them. Where one is missed, values are as
    true but cost their time. Other threads see no difference.
    """
    global _installed
    with _lock:
        _installed += 1
        if _installed == 1:
            _swap(_DOORS)
    try:
        yield
    finally:
        with _lock:
            _installed -= 1
            if _installed == 0:
                _swap([(door, function) for function, door in _DOORS])


def _swap(swaps: Sequence[tuple[Any, Any]]) -> None:
    spaces = [vars(module) for module in list(sys.modules.values()) if hasattr(module, "__dict__")]
    originals = getattr(sys.modules.get("transformers.initialization"), "TORCH_INIT_FUNCTIONS", {})
    for space in [*spaces, originals]:
        for name in UNASKED:
            found = space.get(name)
            for old, new in swaps:
                if found is old:
                    space[name] = new


def asks_first(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a function of a tensor that asks the active `TorchFunctionMode` before it works.

    So the mode sees one call with its numbers, as of torch's own functions, and not what it writes.
    """

    @functools.wraps(function)
    def asking(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        tensor: Any = args[0] if args else kwargs.get("tensor")
        if has_torch_function_variadic(tensor) and not is_lazy(tensor):  # it would refuse
            asked: Any = handle_torch_function(function, (tensor,), *args, **kwargs)
            return asked  # type: ignore[no-any-return]
        return function(*args, **kwargs)

    return asking


_DOORS = [(f, asks_first(f)) for f in (getattr(nn.init, name) for name in UNASKED)]
