"""The size of the signal through a graph, before anything is drawn: mean-field theory on samples.

In a wide layer the output of random weights is Gaussian, and its law follows from the second moments
of what feeds it (Poole et al. 2016; Lee et al. 2018). So a value is stood for by samples of one of
its units: a weight draws Gaussian samples of the variance that its standard deviation gives, and what
the model does between weights is replayed on the samples, whatever it is.

How alike two elements of one unit are decides what averaging leaves of them (attention, pooling), so
each sample has three rows: a unit *here*, the same unit at another place of the same example, and at
the same place of another example.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from isoinit._planning.propagation.recurrent import state
from isoinit._planning.propagation.samples import (
    ACROSS,
    HERE,
    NEARBY,
    SAMPLES,
    Signal,
    gaussian,
    mirrored,
    of_moments,
    part,
    products_of,
    put_right,
)
from isoinit._reading.graph import Array, Given, Graph, Op, Use
from isoinit.initializers import GateBias, Initializer, LooksLinear

LARGEST = 1e60  # a second moment beyond counts as not known
LONGEST = 64  # steps of a recurrent layer that are followed: by then its state has settled

# What a parameter is filled with, given the second moment of what its operation reads.
Fill = Callable[[Op, Use, "Signal | None"], Initializer | None]


def propagate(
    graph: Graph,
    fill: Fill,
    *,
    nominal: bool = False,
    seen: Callable[[int, Signal], None] | None = None,
) -> dict[int, Signal]:
    """The signal at every value of a graph for which it can be worked out.

    Args:
        graph: what the model does.
        fill: what each parameter is filled with; asked in the order of execution, each time a
            parameter is used, with the signal that the operation reads.
        nominal: leave out what follows from the example alone: its moments (the input counts as
            standardized), and how many places attention and pooling average over.
        seen: called with each value and its signal, as soon as it is known.

    Returns:
        The signals by the number of the value. A value behind an operation that is not understood is
        missing, and so is what comes of it until the next norm layer.
    """
    walk = _Walk(graph, fill, nominal)
    for op in graph.ops:
        given = [v for v in op.inputs if v not in walk.signals and v not in graph.producers]
        found = {value: walk.example(value) for value in given}
        walk.signals.update(found)
        signal = walk.after(op)
        if signal is not None and signal.second < LARGEST:  # nor NaN
            several = len(op.outputs) > 1
            made = {v: part(signal, i) if several else signal for i, v in enumerate(op.outputs)}
            walk.signals.update(made)
            found |= made
        for value, signal in found.items():
            if seen is not None:
                seen(value, signal)
    return walk.signals


class _Walk:
    def __init__(self, graph: Graph, fill: Fill, nominal: bool) -> None:
        self.graph, self.fill, self.nominal = graph, fill, nominal
        self.signals: dict[int, Signal] = {}
        self.rng = np.random.default_rng(0)

    # The parts of the walk

    def example(self, value: int) -> Signal:
        """A tensor of the example: its own moments, or standardized and independent."""
        given = None if self.nominal else self.graph.given.get(value)
        if given is None or given.second <= 0:
            given = Given(0.0, 1.0, 0.0, 0.0)
        products = products_of(given.second, given.nearby, given.across)
        rank = len(self.graph.sizes.get(value, ()))
        units = {1} if rank >= 4 else {max(rank - 1, 0)}
        noise = gaussian(self.rng, products - given.mean**2).rows + given.mean
        return Signal(noise, frozenset(units))

    def after(self, op: Op) -> Signal | None:
        """The signal that an operation gives; None where that is not known."""
        if op.index in self.graph.norms and op.kind != "norm":
            inner = self.signals.get(self.graph.norms[op.index])
            if inner is None or not inner.second:
                return self.unit(op)
            return replace(inner, rows=inner.rows / inner.rms)
        inputs = [self.signals.get(value) for value in op.inputs]
        if op.kind == "lookup":
            return self.lookup(op)
        if op.kind == "norm":
            signal = inputs[0] if inputs else None
            return self.uses(op, self.norm(op, signal))
        if not inputs or any(signal is None for signal in inputs):
            self.ask(op, None)
            return None
        known = [signal for signal in inputs if signal is not None]
        if op.kind == "map":
            return self.map(op, known)
        if op.kind == "recurrent":
            return self.recurrent(op, known[0])
        if op.kind == "attention":
            return self.packed_attention(op, known)
        if op.kind == "move" and op.name not in ("cat", "stack", "concat"):
            return self.uses(op, self.move(op, known[0]))
        return self.uses(op, ROUTES.get(op.name, _Walk.elementwise)(self, op, known))

    def ask(self, op: Op, fed: Signal | None) -> dict[str, Initializer | None]:
        """What an operation's parameters are filled with, by slot."""
        return {use.slot: self.fill(op, use, fed) for use in op.uses}

    def map(self, op: Op, inputs: Sequence[Signal]) -> Signal | None:
        """A weight and what it reads: Gaussian, of variance Var(w) · fan_in · E[x²]."""
        fed = inputs[0]
        filled = self.ask(op, fed)
        use = next((use for use in op.uses if use.slot == "weight"), None)
        weight = filled.get("weight")
        if use is None or weight is None or use.through:
            return None
        axis = max(len(self.graph.sizes.get(op.outputs[0], ())) - 1 - len(use.layout.kernel), 0)
        products = self.read_by(op, use, inputs)
        terms = use.layout.fan_in * (1.0 if self.nominal else self.inside(op, use))
        mirror = weight.mirror if isinstance(weight, LooksLinear) else ""
        if mirror in ("in", "both"):
            half = fed.rows[:, : SAMPLES // 2] - fed.rows[:, SAMPLES // 2 :]
            products = half @ half.T / SAMPLES
        products = products * terms * weight.std_for(use.layout) ** 2
        bias, shift = self.bias(op, filled)
        draw = mirrored if mirror in ("out", "both") else gaussian
        signal = draw(self.rng, products + bias, frozenset({axis}))
        return replace(signal, rows=signal.rows + shift)

    def read_by(self, op: Op, use: Use, inputs: Sequence[Signal]) -> Array:
        """The mean products of what a weight sums over."""
        fed = inputs[0]
        products, near = fed.products, fed.products[HERE, NEARBY]
        last = len(self.graph.sizes.get(op.outputs[0], ())) - 1
        if len(inputs) > 1:  # bilinear: a product of two signals
            return np.asarray(products * inputs[1].products)
        if not use.layout.kernel and fed.units and last not in fed.units:
            # It mixes places and not units; what was another unit is now another place.
            near = float(fed.rows[HERE] @ np.roll(fed.rows[HERE], 1)) / SAMPLES
        elif use.layout.kind == "conv_transpose":  # other taps make the places in between
            apart = math.prod(self.graph.sizes.get(op.inputs[0], (1,))[2:]) > 1
            near *= use.layout.fan_in / math.prod(use.layout.maps_shape[2:]) if apart else 0.0
        products[HERE, NEARBY] = products[NEARBY, HERE] = near
        return products

    def bias(self, op: Op, filled: dict[str, Initializer | None]) -> tuple[float, float]:
        """Variance and mean of an operation's bias."""
        for use in op.uses:
            initializer = filled.get(use.slot)
            if use.slot in ("bias", "shift") and initializer is not None and not use.through:
                mean = initializer.mean_for(use.layout)
                return max(_square(initializer, use) - mean**2, 0.0), mean
        return 0.0, 0.0

    def inside(self, op: Op, use: Use) -> float:
        """The share of a kernel's taps that fall on the input and not on padding, on average."""
        before, after = (self.graph.sizes.get(v, ()) for v in (op.inputs[0], op.outputs[0]))
        if not use.layout.kind.startswith("conv") or len(before) != len(after):
            return 1.0
        spread = use.layout.kind == "conv_transpose"
        first = len(after) - len(use.layout.kernel)
        sides = zip(*((after, before) if spread else (before, after)), strict=True)
        share = 1.0
        terms = math.prod(
            use.layout.maps_shape[2:]
        )  # the fan-in of a spread kernel is over strides
        steps = max(round((terms / use.layout.fan_in) ** (1 / len(use.layout.kernel))), 1)
        for (n, m), taps in zip(list(sides)[first:], use.layout.kernel, strict=True):
            stride = steps if spread else max(round(n / m), 1)
            padding = math.floor(max((m - 1) * stride + taps - n, 0) / 2)
            places = np.arange(m)[:, None] * stride - padding + np.arange(taps)
            share *= float(((places >= 0) & (places < n)).mean())
            if spread:  # what is known of all outputs is that they share the taps that land
                share *= m * stride / n
        return share

    def lookup(self, op: Op) -> Signal | None:
        """Rows of a table, or a parameter in the place of a signal."""
        filled = self.ask(op, None)
        use = next(iter(op.uses), None)
        initializer = filled.get(use.slot) if use else None
        if use is None or initializer is None:
            return None
        mean = initializer.mean_for(use.layout)
        variance = max(_square(initializer, use) - mean**2, 0.0) * use.layout.fan_in
        alike = {"position": [[1, 0, 1], [0, 1, 0], [1, 0, 1]], "token": np.ones((3, 3))}
        places = op.detail.constant
        one_row = places is not None and places[1] - places[0] ** 2 < 1e-9
        kind = "token" if one_row else use.slot
        products = np.array(alike.get(kind, np.eye(3)), float) * variance
        units = frozenset({max(len(self.graph.sizes.get(op.outputs[0], (1,))) - 1, 0)})
        signal = gaussian(self.rng, products, units)
        return replace(signal, rows=signal.rows + mean)

    def norm(self, op: Op, signal: Signal | None) -> Signal | None:
        """A norm layer: unit second moment, whatever came in; unknown signals are known again."""
        if signal is None:
            return self.unit(op)
        if not op.detail.live:
            return signal
        rows = signal.rows
        if op.name == "batch_norm":  # what all examples share is taken away
            shared = min(signal.products[HERE, ACROSS], 0.99 * signal.second)
            left = signal.second - shared
            near = (signal.products[HERE, NEARBY] - shared) / left if left else 1.0
            places = np.array([[1.0, near, 0], [near, 1, 0], [0, 0, 1]])
            return gaussian(self.rng, places, signal.units)
        if op.name != "rms_norm":
            rows = rows - rows.mean(1, keepdims=True)
        return replace(signal, rows=rows / np.sqrt(np.square(rows).mean(1, keepdims=True) + 1e-12))

    def unit(self, op: Op) -> Signal:
        """What a norm layer makes of a signal that is not known: unit size."""
        batch = op.name in ("batch_norm", "instance_norm", "group_norm")
        rank = len(self.graph.sizes.get(op.outputs[0], ()))
        return gaussian(self.rng, np.eye(3), frozenset({1 if batch else max(rank - 1, 0)}))

    def uses(self, op: Op, signal: Signal | None) -> Signal | None:
        """The parameters that an operation adds or multiplies by."""
        filled = self.ask(op, signal)
        if signal is None:
            return None
        rows = signal.rows
        for use in op.uses:
            initializer = filled[use.slot]
            if use.slot not in ("scale", "bias", "shift", "position", "slope"):
                continue
            if initializer is None:
                return None
            if use.through and use.neutral is not None:
                continue  # started at the value at which it does nothing
            if use.through:
                return None
            mean, square = initializer.mean_for(use.layout), _square(initializer, use)
            if use.slot == "scale":
                rows = rows * (mean if mean else math.sqrt(square))
            elif use.slot == "slope":
                rows = np.where(rows > 0, rows, mean * rows)
            else:
                alike = np.ones((3, 3)) if use.slot != "position" else np.eye(3)
                alike[HERE, ACROSS] = alike[ACROSS, HERE] = 1
                rows = rows + mean + gaussian(self.rng, alike * max(square - mean**2, 0.0)).rows
        return replace(signal, rows=rows)

    def move(self, op: Op, signal: Signal) -> Signal | None:
        """A rearrangement: the same samples along other axes; parts of the units are other units."""
        axes = op.detail.axes
        sizes = [self.graph.sizes.get(v, ()) for v in (op.inputs[0], op.outputs[0])]
        units = signal.units
        if axes is not None:
            units = frozenset(a for a, old in enumerate(axes) if signal.units & set(old))
        rows = signal.rows
        ratio = max(round(math.prod(sizes[0]) / max(math.prod(sizes[1]), 1)), 1)
        if op.name.startswith(("avg_pool", "adaptive_avg_pool")):
            return self.averaged(replace(signal, units=units), op.detail.window or ratio)
        if op.name.startswith(("max_pool", "adaptive_max_pool")):
            return self.largest(replace(signal, units=units), op.detail.window or ratio)
        if not self.nominal and op.detail.power != 1.0:
            keep = self.rng.random(rows.shape) < 1 / op.detail.power
            rows = rows * keep * op.detail.power
        if op.name == "pad" and sizes[0] and not self.nominal:
            rows = rows * math.sqrt(math.prod(sizes[0]) / max(math.prod(sizes[1]), 1))
        moved = replace(signal, rows=rows, units=units)
        if self.graph.is_part(op) and self.splits_units(op, signal):
            return part(moved, op.outputs[0])
        return moved

    def splits_units(self, op: Op, signal: Signal) -> bool:
        """Whether the parts that an operation gives hold different units."""
        before, after = (self.graph.sizes.get(v, ()) for v in (op.inputs[0], op.outputs[0]))
        if len(before) != len(after):
            axes = op.detail.axes
            return axes is not None and any(all(u not in old for old in axes) for u in signal.units)
        return any(before[axis] != after[axis] for axis in signal.units if axis < len(before))

    def averaged(self, signal: Signal, count: int) -> Signal:
        """A mean over `count` places."""
        if self.nominal or count < 2:
            return signal
        products = signal.products
        near = products[HERE, NEARBY]
        second = near + (products[HERE, HERE] - near) / count
        far = products[HERE, ACROSS]
        both = min(far, products[NEARBY, ACROSS])
        far = both + (far - both) / count
        return of_moments(self.rng, signal, second, near, far)

    def largest(self, signal: Signal, count: int) -> Signal:
        """The largest of `count` places, as alike as two places are."""
        mean, products = signal.mean, signal.products
        spread = products[HERE, HERE] - mean**2
        alike = (
            min(max((products[HERE, NEARBY] - mean**2) / spread, 0.0), 1.0) if spread > 0 else 1.0
        )
        if alike > 0.99:
            return signal
        order = np.sort(signal.rows, axis=1)
        shared = gaussian(self.rng, np.ones((3, 3)) * alike).rows
        ranks = [
            np.argsort(
                np.argsort(shared + math.sqrt(1 - alike) * gaussian(self.rng, np.eye(3)).rows, 1), 1
            )
            for _ in range(min(count, 64))
        ]
        return replace(signal, rows=np.take_along_axis(order, np.max(ranks, 0), 1))

    def elementwise(self, op: Op, inputs: Sequence[Signal]) -> Signal | None:
        """A function of single elements, replayed on the samples; None if it is none."""
        rank = len(self.graph.sizes.get(op.outputs[0], ()))
        units = frozenset(
            axis + rank - len(self.graph.sizes.get(value, ()))
            for value, signal in zip(op.inputs, inputs, strict=True)
            for axis in signal.units
        )
        rows = [signal.rows for signal in inputs]
        if op.uses:
            return Signal(rows[0], units)
        if op.replay is None:
            return self.by_constant(op, inputs, units)
        try:
            whole = op.apply([r.ravel() for r in rows])
            few = op.apply([r.ravel()[:48] for r in rows])
        except Exception:  # it refuses a plain row of numbers: not elementwise
            return None
        if whole.shape != (rows[0].size,) or few.shape != (48,):
            return None
        if not np.allclose(whole[:48], few, rtol=1e-6, atol=1e-9, equal_nan=True):
            return None
        found = np.asarray(whole, np.float64).reshape(rows[0].shape)
        if op.name in ("add", "sub", "mul") and len(inputs) == 2:
            found = put_right(op.name, found, *inputs)
        return Signal(found, units)

    def by_constant(self, op: Op, inputs: Sequence[Signal], units: frozenset[int]) -> Signal | None:
        """A sum or product with a constant tensor, of which the moments may be known."""
        rows, known = inputs[0].rows, op.detail.constant
        if len(inputs) != 1 or op.name not in (
            "add",
            "sub",
            "mul",
            "div",
            "where",
            "masked_scatter",
        ):
            return None
        if known is None or op.name not in ("add", "sub", "mul"):
            return Signal(rows, units)
        mean, square = known
        if op.name == "mul":
            return Signal(rows * math.copysign(math.sqrt(square), mean or 1.0), units)
        alike = np.array([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]]) * max(square - mean**2, 0.0)
        return Signal(rows + mean + gaussian(self.rng, alike).rows, units)

    # Operations that are no functions of single elements

    def softmax(self, op: Op, inputs: Sequence[Signal]) -> Signal | None:
        """Weights that share the sum of one; with a causal mask, over what came before."""
        signal = inputs[0]
        size = self.graph.sizes[op.outputs[0]]
        dims = op.detail.dims
        count = size[dims[0]] if dims and dims[0] < len(size) else 2
        spread = float(np.var(signal.rows[HERE] - signal.rows[NEARBY])) / 2
        even = _even(count, spread, op.detail.causal or self.is_causal(op.inputs[0]))
        weights = np.exp(np.clip(signal.rows - signal.rows.max(), -60, 0))
        weights = weights / (weights.mean() * count)
        return Signal(np.minimum(weights, 1.0), signal.units, count, even)

    def is_causal(self, value: int) -> bool:
        """Whether a causal mask was added or filled in on the way to a value."""
        for _ in range(6):
            op = self.graph.producers.get(value)
            if op is None or op.kind not in ("move", "other") or not op.inputs:
                return False
            if op.detail.causal:
                return True
            value = op.inputs[0]
        return False

    def product(self, op: Op, inputs: Sequence[Signal]) -> Signal | None:
        """A product of two signals' matrices: an average if one is a softmax, else a sum of terms."""
        if len(inputs) == 1:  # by itself: x @ xᵀ
            inputs = [inputs[0], inputs[0]]
        if len(inputs) != 2:
            return None
        rank = len(self.graph.sizes.get(op.outputs[0], (1,)))
        for weights, signal in (inputs, inputs[::-1]):
            if weights.shares:
                return replace(self.attended(signal, weights.even), units=frozenset({rank - 1}))
        sizes = self.graph.sizes.get(op.inputs[0], ())
        if op.name == "einsum" or not sizes:
            return None
        terms = sizes[-1]
        left, right = (signal.rows for signal in inputs)
        centred = left.var() * right.var() * terms + (left.mean() * right.mean() * terms) ** 2
        return gaussian(self.rng, centred * np.eye(3), frozenset({rank - 1}))

    def attended(self, signal: Signal, even: float) -> Signal:
        """An average over places by softmax weights whose squares sum to `even`."""
        if self.nominal:
            return signal
        products = signal.products
        near, far = products[HERE, NEARBY], products[HERE, ACROSS]
        both = min(products[NEARBY, ACROSS], far)
        second = near + (products[HERE, HERE] - near) * even
        return of_moments(
            self.rng, signal, second, near + (second - near) / 2, both + (far - both) * even
        )

    def scores(self, op: Op, inputs: Sequence[Signal]) -> Signal | None:
        """`scaled_dot_product_attention`, whose scores have the variance q² · k²."""
        if len(inputs) == 2:  # keys and values are one
            inputs = [*inputs, inputs[1]]
        elif len(inputs) == 1:
            inputs = [inputs[0]] * 3
        query, key, value = inputs[:3]
        sizes = self.graph.sizes.get(op.inputs[min(len(op.inputs), 3) - 1], (1, 1))
        causal = op.detail.causal or (len(op.inputs) > 3 and self.is_causal(op.inputs[3]))
        even = _even(sizes[-2], op.detail.power * query.second * key.second, causal)
        rank = len(self.graph.sizes.get(op.outputs[0], (1,)))
        return replace(self.attended(value, even), units=frozenset({rank - 1}))

    def packed_attention(self, op: Op, inputs: Sequence[Signal]) -> Signal | None:
        """Torch's own multi-head attention up to its output projection."""
        filled = self.ask(op, inputs[0])
        use = next((use for use in op.uses if use.slot == "weight"), None)
        weight = filled.get("weight")
        if use is None or weight is None:
            return None
        value = inputs[-1]
        factor = weight.std_for(use.layout) ** 2 * use.layout.fan_in
        count = self.graph.sizes.get(op.inputs[-1], (1,))[0]
        even = _even(count, factor**2 * inputs[0].second * value.second, op.detail.causal)
        projected = gaussian(self.rng, value.products * factor, frozenset({2}))
        return self.attended(projected, even)

    def reduced(self, op: Op, inputs: Sequence[Signal]) -> Signal | None:
        """A mean or a sum along axes: over units it is a number, over places an average."""
        signal = inputs[0]
        before = self.graph.sizes.get(op.inputs[0], ())
        after = self.graph.sizes.get(op.outputs[0], ())
        dims = [dim for dim in op.detail.dims if dim < len(before)]
        gone = 0 if len(before) == len(after) else 1
        units = frozenset(
            axis - gone * sum(dim < axis for dim in dims)
            for axis in signal.units
            if axis not in dims
        )
        places = math.prod(before[dim] for dim in dims if dim not in signal.units)
        over = math.prod(before[dim] for dim in dims if dim in signal.units)
        found = self.averaged(replace(signal, units=units), places)
        if over > 1:
            means = found.rows.mean(1, keepdims=True)
            noise = gaussian(self.rng, (found.products - means @ means.T) / over).rows
            found = replace(found, rows=means + noise)
        if op.name == "sum":
            found = replace(found, rows=found.rows * (over * (1 if self.nominal else places)))
        return found

    def joined(self, op: Op, inputs: Sequence[Signal]) -> Signal | None:
        """Signals side by side: a sample of each, by their sizes."""
        if len(inputs) == 1:
            return inputs[0]
        sizes = [math.prod(self.graph.sizes.get(value, (1,))) for value in op.inputs]
        ends = np.round(np.cumsum([0, *sizes]) / sum(sizes) * SAMPLES).astype(int)
        order = self.rng.permutation(SAMPLES)
        rows = np.empty_like(inputs[0].rows)
        for signal, first, last in zip(inputs, ends[:-1], ends[1:], strict=True):
            rows[:, order[first:last]] = signal.rows[:, order[first:last]]
        weighted = zip(sizes, inputs, strict=True)
        second = sum(size * signal.second for size, signal in weighted) / sum(sizes)
        found = float(np.square(rows[HERE]).mean())
        return Signal(rows * math.sqrt(second / found) if found > 0 else rows, inputs[0].units)

    def glu(self, op: Op, inputs: Sequence[Signal]) -> Signal | None:
        """`F.glu`: one half of the units, gated by the sigmoid of the other."""
        signal, gate = inputs[0], part(inputs[0], 1)
        return replace(signal, rows=signal.rows / (1 + np.exp(-gate.rows)))

    def recurrent(self, op: Op, signal: Signal) -> Signal | None:
        """Torch's recurrent layers, followed in time until the state has settled."""
        uses: dict[str, list[tuple[Use, Initializer | None]]] = {}
        for use in op.uses:
            uses.setdefault(use.slot, []).append((use, self.fill(op, use, signal)))
        layers = list(
            zip(uses.get("input weight", []), uses.get("recurrent weight", []), strict=True)
        )
        bias = next((b for _, b in uses.get("input bias", []) if isinstance(b, GateBias)), None)
        steps = min(max((*self.graph.sizes.get(op.inputs[0], (1,))[:-1], 1)), LONGEST)
        for (use, weight), (again, recurrent) in layers:
            if weight is None or recurrent is None:
                return None
            inner = signal.products * use.layout.fan_in * weight.std_for(use.layout) ** 2
            outer = again.layout.fan_in * recurrent.std_for(again.layout) ** 2
            signal = state(self.rng, op.name, inner, outer, bias.val if bias else 0.0, steps)
        return replace(signal, units=frozenset({len(self.graph.sizes[op.outputs[0]]) - 1}))


Route = Callable[[_Walk, Op, Sequence[Signal]], Signal | None]

ROUTES: dict[str, Route] = {
    "softmax": _Walk.softmax,
    **dict.fromkeys(("matmul", "bmm", "mm", "einsum"), _Walk.product),
    "scaled_dot_product_attention": _Walk.scores,
    **dict.fromkeys(("mean", "sum"), _Walk.reduced),
    **dict.fromkeys(("cat", "concat", "stack"), _Walk.joined),
    "glu": _Walk.glu,
}


def _square(initializer: Initializer, use: Use) -> float:
    """The mean square of a parameter's elements."""
    return initializer.std_for(use.layout) ** 2 + initializer.mean_for(use.layout) ** 2


def _even(count: int, spread: float, causal: bool) -> float:
    """The expected sum of squares of softmax weights whose scores have this variance.

    Of n Gaussian scores of variance s², E[w²] is about exp(s²)/n² while n is well above exp(s²), and
    no sum of squares exceeds one: 1/(1 + (n - 1)·exp(-s²)) joins the two.
    """
    counts = np.arange(1, count + 1) if causal else np.array([count])
    return float(np.mean(1 / (1 + (counts - 1) * math.exp(-min(spread, 50.0)))))
