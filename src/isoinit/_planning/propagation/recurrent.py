"""The state of torch's recurrent layers, followed in time on samples."""

from __future__ import annotations

import math

import numpy as np

from isoinit._planning.propagation.samples import HERE, NEARBY, SAMPLES, Signal, gaussian
from isoinit._reading.graph import Array


def state(
    rng: np.random.Generator, name: str, inner: Array, outer: float, forget: float, steps: int
) -> Signal:
    """The state of one recurrent layer, from zero on, its size averaged over the steps.

    A gate's input at one step is as like that at the last as its sources are: tokens are new at
    each step, the state of a layer below is not. Here "nearby" is one step before.
    """
    hidden = before = cell = np.zeros((3, SAMPLES))
    noise: dict[str, Array] = {}
    total = 0.0

    def term(which: str, second: float, lag: float) -> Array:
        alike = min(max(lag / max(second, 1e-300), 0.0), 1.0)
        fresh = gaussian(rng, np.eye(3)).rows
        noise[which] = alike * noise.get(which, fresh) + math.sqrt(1 - alike**2) * fresh
        return math.sqrt(second) * noise[which]

    def fresh_input(which: str) -> Array:
        return term(which, inner[HERE, HERE], inner[HERE, NEARBY])

    def fed_back(which: str) -> Array:
        now, last = (outer * float(hidden[HERE] @ h[HERE]) / SAMPLES for h in (hidden, before))
        return term(which + " state", now, last)

    def gate(which: str, shift: float = 0.0) -> Array:
        return fresh_input(which) + fed_back(which) + shift

    def open_(which: str, shift: float = 0.0) -> Array:
        return 1 / (1 + np.exp(-gate(which, shift)))

    for _ in range(steps):
        if name.startswith("lstm"):
            cell = open_("forget", forget) * cell + open_("in") * np.tanh(gate("cell"))
            after = open_("out") * np.tanh(cell)
        elif name.startswith("gru"):
            update = open_("update")
            new = np.tanh(fresh_input("new") + open_("reset") * fed_back("new"))
            after = (1 - update) * new + update * hidden
        else:
            value = gate("state")
            after = np.tanh(value) if "tanh" in name else np.maximum(value, 0)
        before, hidden = hidden, after
        total += float(np.square(hidden[HERE]).mean()) / steps
    rows = np.stack([hidden[HERE], before[HERE], np.roll(hidden[HERE], 1)])
    size = math.sqrt(total / max(float(np.square(hidden[HERE]).mean()), 1e-300))
    return Signal(rows * size, frozenset())
