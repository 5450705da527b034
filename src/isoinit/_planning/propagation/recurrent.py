"""The state of torch's recurrent layers, followed in time on samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from isoinit._planning.propagation.context import Context
from isoinit._planning.propagation.draws import Draws
from isoinit._planning.propagation.samples import HERE, NEARBY, SAMPLES, Signal, gaussian, replace
from isoinit._reading.graph import Array, Op, Use
from isoinit.initializers import GateBias, Initializer

LONGEST = 64  # steps that are followed: by then the state has settled


def settled(context: Context, op: Op, inputs: Sequence[Signal]) -> Signal | None:
    """Return the state of the last layer, each layer followed in time until its state settles.

    A cell makes one step, from the state that it is given.
    """
    signal = inputs[0]
    sizes = context.graph.sizes
    uses: dict[str, list[tuple[Use, Initializer | None]]] = {}
    for use in op.uses:
        uses.setdefault(use.slot, []).append((use, context.fill(op, use, signal)))
    layers = list(zip(uses.get("input weight", []), uses.get("recurrent weight", []), strict=True))
    directions = sizes[op.outputs[0]][-1] // int(layers[0][1][0].layout.fan_in) if layers else 1
    bias = next((b for _, b in uses.get("input bias", []) if isinstance(b, GateBias)), None)
    steps = min(max((*sizes.get(op.inputs[0], (1,))[:-1], 1)), LONGEST)
    start: list[Array] = []
    if op.name.endswith("_cell"):
        steps, start = 1, [state.rows for state in inputs[1:]]
    for (use, weight), (again, recurrent) in layers[::directions]:  # both see the same
        if weight is None or recurrent is None:
            return None
        inner = signal.products * use.layout.fan_in * weight.std_for(use.layout) ** 2
        outer = again.layout.fan_in * recurrent.std_for(again.layout) ** 2
        signal = state(context.rng, op.name, inner, outer, bias.val if bias else 0.0, steps, start)
    return replace(signal, units=frozenset({len(sizes[op.outputs[0]]) - 1}))


def state(
    rng: Draws,
    name: str,
    inner: Array,
    outer: float,
    forget: float,
    steps: int,
    start: Sequence[Array] = (),
    last: dict[str, Array] | None = None,
) -> Signal:
    """Return the state of one recurrent layer, its size averaged over the steps.

    It starts from zero, or else from the state, and the cell of an LSTM, in `start`. What its gates
    and states were at the last step is put into `last`, here and by name.
    """
    layer = _Layer(rng, inner, outer, {} if last is None else last)
    if start:
        layer.hidden = layer.before = start[0]
        layer.cell = start[1] if len(start) > 1 else layer.cell
    total = 0.0
    for _ in range(steps):
        after = layer.step(name, forget)
        layer.before, layer.hidden = layer.hidden, after
        total += float(np.square(after[HERE]).mean()) / steps
    here = layer.hidden[HERE]
    rows = np.stack([here, layer.before[HERE], np.roll(here, 1)])
    size = math.sqrt(total / max(float(np.square(here).mean()), 1e-300))
    return Signal(rows * size, frozenset())


@dataclass
class _Layer:
    """One recurrent layer, followed step by step.

    A gate's input is as correlated with that of the step before as its sources are: tokens are new
    at each step, the state of a layer below is not. Here "nearby" is one step before.

    Attributes:
        rng: the source of all samples.
        inner: the mean products of what the inputs bring to a gate, (3, 3).
        outer: what the recurrent weights do to a second moment.
        last: what gates and states were at the newest step, here and by name.
        hidden, before, cell: the state, that of the step before, and the cell of an LSTM.
    """

    rng: Draws
    inner: Array
    outer: float
    last: dict[str, Array]
    hidden: Array = field(default_factory=lambda: np.zeros((3, SAMPLES)))
    before: Array = field(default_factory=lambda: np.zeros((3, SAMPLES)))
    cell: Array = field(default_factory=lambda: np.zeros((3, SAMPLES)))
    _noise: dict[str, Array] = field(default_factory=dict)

    def step(self, name: str, forget: float) -> Array:
        """Return the state after one more step."""
        if name.startswith("lstm"):
            was = self._open("forget", forget) * self._keep("cell before", self.cell)
            self.cell = was + self._open("in") * self._keep("new", np.tanh(self._gate("cell")))
            return self._open("out") * np.tanh(self._keep("cell", self.cell))
        if name.startswith("gru"):
            update, into = self._open("update"), self._input("new")
            back = self._open("reset") * self._keep("fed back", self._fed_back("new"))
            new = self._keep("new", np.tanh(into + back))
            return (1 - update) * new + update * self._keep("before", self.hidden)
        value = self._gate("state")
        return self._keep("after", np.tanh(value) if "tanh" in name else np.maximum(value, 0))

    def _keep(self, which: str, value: Array) -> Array:
        self.last[which] = value[HERE]
        return value

    def _term(self, which: str, second: float, lag: float) -> Array:
        alike = min(max(lag / max(second, 1e-300), 0.0), 1.0)
        fresh = gaussian(self.rng, np.eye(3)).rows
        known = self._noise.get(which, fresh)
        self._noise[which] = alike * known + math.sqrt(1 - alike**2) * fresh
        return math.sqrt(second) * self._noise[which]

    def _input(self, which: str) -> Array:
        return self._term(which, self.inner[HERE, HERE], self.inner[HERE, NEARBY])

    def _fed_back(self, which: str) -> Array:
        states = (self.hidden, self.before)
        now, lag = (self.outer * float(self.hidden[HERE] @ h[HERE]) / SAMPLES for h in states)
        return self._term(which + " state", now, lag)

    def _gate(self, which: str, shift: float = 0.0) -> Array:
        return self._input(which) + self._fed_back(which) + shift

    def _open(self, which: str, shift: float = 0.0) -> Array:
        return self._keep(which, 1 / (1 + np.exp(-self._gate(which, shift))))
