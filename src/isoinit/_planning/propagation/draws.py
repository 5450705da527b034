"""The random numbers of a walk: those of NumPy's generator of seed 0, the first orders kept."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from isoinit._reading.graph import Array

SAMPLES = 4096
KEPT = 1024  # orders of samples that are kept, two bytes a sample: 8 MiB
EACH = 64  # of these, from which on the generator's state is kept, too
_lock = Lock()
_source = np.random.default_rng(0)
_orders: list[npt.NDArray[np.uint16]] = []
_states: list[Any] = []


class Draws:
    """What `np.random.default_rng(0)` gives, the same numbers in the same order.

    Every walk begins with these, and mostly asks for orders of samples alone: the first ones are
    drawn once in a process.

    Example:
        >>> import numpy as np
        >>> draws, rng = Draws(), np.random.default_rng(0)
        >>> all((draws.permutation(SAMPLES) == rng.permutation(SAMPLES)).all() for _ in range(3))
        True
        >>> draws.random(2).tolist() == rng.random(2).tolist()
        True
    """

    def __init__(self) -> None:
        self._given = 0
        self._own: np.random.Generator | None = None  # from where other numbers were asked for

    def permutation(self, of: int | npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return numbers from 0 on, or an array's elements, in random order."""
        if self._own is not None or not isinstance(of, int) or of != SAMPLES or self._given >= KEPT:
            return self._drawn().permutation(of)
        with _lock:
            if len(_orders) == self._given:
                if self._given % EACH == 0:
                    _states.append(_source.bit_generator.state)
                _orders.append(_source.permutation(SAMPLES).astype(np.uint16))
        self._given += 1
        return _orders[self._given - 1].astype(np.intp)

    def random(self, shape: int | tuple[int, ...]) -> Array:
        """Return numbers between 0 and 1."""
        return self._drawn().random(shape)

    def _drawn(self) -> np.random.Generator:
        if self._own is None:
            self._own = np.random.default_rng(0)
            known = max(self._given - 1, 0) // EACH  # what was given lies behind it
            if self._given:
                self._own.bit_generator.state = _states[known]
            for _ in range(self._given - known * EACH):
                self._own.permutation(SAMPLES)
        return self._own
