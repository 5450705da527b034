"""Which implementation does the work: plain NumPy, the definition, or Numba's compiled code.

Both give the same bits. Loading Numba takes most of a second, so small models never wait for it;
once it is loaded, it does all the work.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from isoinit.errors import IsoinitWarning

if TYPE_CHECKING:
    from types import ModuleType

_PATIENCE: Final = 1_000_000
"""Work done without Numba before it is loaded: a part of the time that loading takes."""

_done = 0
"""Work done without Numba in this process, at most as much as its patience."""


class Backend:
    """Two modules with the same functions and the same results.

    Args:
        definition: the module in plain NumPy.
        compiled: the name of the one that calls compiled code; loading it loads Numba.
    """

    def __init__(self, definition: ModuleType, compiled: str) -> None:
        self.definition = definition
        self.compiled = compiled

    def pick(self, work: int) -> Any:
        """Return the module to use now.

        Args:
            work: how much there is to do; one is the time that NumPy takes for a normal number.
        """
        global _done
        _done = min(_done + work, _PATIENCE)
        if _done < _PATIENCE or numba_fault():
            return self.definition
        return import_module(self.compiled)


@lru_cache(maxsize=1)
def numba_fault() -> str:
    """Return why Numba cannot be used, and warn once; empty if it can."""
    try:
        import_module("isoinit._drawing.jit")
    except ImportError as error:
        warnings.warn(
            f"Numba cannot be used ({error}): NumPy draws the same numbers, but about 100 times "
            "slower. Install numba for full speed",
            IsoinitWarning,
            stacklevel=6,
        )
        return str(error)
    return ""
