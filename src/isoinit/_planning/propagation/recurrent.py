"""The state of torch's recurrent layers, followed in time on samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.samples import HERE, NEARBY, SAMPLES, Signal, gaussian
from isoinit._reading.graph import Array, Op, Use
from isoinit.initializers import GateBias, Initializer

LONGEST = 64  # steps that are followed: by then the state has settled


def settled(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return the state of the last layer, each layer followed in time until its state settles."""
    signal = inputs[0]
    sizes = context.graph.sizes
    uses: dict[str, list[tuple[Use, Initializer | None]]] = {}
    for use in op.uses:
        uses.setdefault(use.slot, []).append((use, context.fill(op, use, signal)))
    layers = list(zip(uses.get("input weight", []), uses.get("recurrent weight", []), strict=True))
    bias = next((b for _, b in uses.get("input bias", []) if isinstance(b, GateBias)), None)
    steps = min(max((*sizes.get(op.inputs[0], (1,))[:-1], 1)), LONGEST)
    for (use, weight), (again, recurrent) in layers:
        if weight is None or recurrent is None:
            return None
        inner = signal.products * use.layout.fan_in * weight.std_for(use.layout) ** 2
        outer = again.layout.fan_in * recurrent.std_for(again.layout) ** 2
        signal = state(context.rng, op.name, inner, outer, bias.val if bias else 0.0, steps)
    return replace(signal, units=frozenset({len(sizes[op.outputs[0]]) - 1}))


def state(
    rng: np.random.Generator,
    name: str,
    inner: Array,
    outer: float,
    forget: float,
    steps: int,
    last: dict[str, Array] | None = None,
) -> Signal:
    """Return the state of one recurrent layer from zero on, its size averaged over the steps.

    What its gates and states were at the last step is put into `last`, here and by name.

    A gate's input is as correlated with that of the step before as its sources are: tokens are new
    at each step, the state of a layer below is not. Here "nearby" is one step before.
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

    kept = {} if last is None else last

    def keep(which: str, value: Array) -> Array:
        kept[which] = value[HERE]
        return value

    def open_(which: str, shift: float = 0.0) -> Array:
        return keep(which, 1 / (1 + np.exp(-gate(which, shift))))

    for _ in range(steps):
        if name.startswith("lstm"):
            was = open_("forget", forget) * keep("cell before", cell)
            cell = was + open_("in") * keep("new", np.tanh(gate("cell")))
            after = open_("out") * np.tanh(keep("cell", cell))
        elif name.startswith("gru"):
            update = open_("update")
            into = fresh_input("new")
            back = open_("reset") * keep("fed back", fed_back("new"))
            new = keep("new", np.tanh(into + back))
            keep("before", hidden)
            after = (1 - update) * new + update * hidden
        else:
            value = gate("state")
            after = np.tanh(value) if "tanh" in name else np.maximum(value, 0)
            keep("after", after)
        before, hidden = hidden, after
        total += float(np.square(hidden[HERE]).mean()) / steps
    rows = np.stack([hidden[HERE], before[HERE], np.roll(hidden[HERE], 1)])
    size = math.sqrt(total / max(float(np.square(hidden[HERE]).mean()), 1e-300))
    return Signal(rows * size, frozenset())
