"""A traced model: its operations, its parameters, and the landmarks of its signal's way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from isoinit._reading.graph.charts import Chart, Length
from isoinit._reading.graph.dataflow import Dataflow
from isoinit._reading.graph.joins import Join, find_joins
from isoinit._reading.graph.norms import find_norms, scales_inside, second_in_steps
from isoinit._reading.graph.ops import BESIDE, Made, Op, Use
from isoinit.initializers.scale.fans import Layout

T = TypeVar("T")


@dataclass(frozen=True)
class Given:
    """The moments of one tensor of the example, or of one that takes its place.

    Attributes:
        mean, second: the mean of its elements, and of their squares.
        nearby: the mean product of two elements of one example that differ in place alone (in the
            axes between the first and the last).
        across: the mean product of elements at one place of two examples.
        uneven: whether its units are of very different sizes, as the columns of a raw table are.
        seen: the share of its units that make up its size, (Σ x²)²/(n Σ x⁴) over units: little where
            few columns of a raw table drown the others; 1 where most numbers are zero.
        units: the mean and the standard deviation of each unit, where they are not many; () otherwise,
            and where more than three are mostly zero.
        fixed: whether it belongs to the model (a buffer, a table) and not to the example.
    """

    mean: float
    second: float
    nearby: float
    across: float
    fixed: bool = False
    uneven: bool = False
    seen: float = 1.0
    units: tuple[tuple[float, float], ...] = ()

    @property
    def varies(self) -> bool:
        """Whether it is more than zeros or ones, which tell shapes alone."""
        return self.second - self.mean**2 > 1e-9 * self.second


@dataclass(frozen=True)
class Graph(Dataflow):
    """What a model did with its parameters.

    Attributes:
        ops: the operations, in the order of execution.
        sizes: the shape of every value.
        shapes: the shape of every parameter, by name.
        outputs: the values that the model returns.
        how: "fake" (run on fake tensors), "real" (run on the example), "structure" (not run) or
            "jaxpr" (traced by JAX).
        aliases: other names of tied parameters, and the name that each stands for.
        given: the moments of the example's own tensors, and of buffers that take their place, by the
            number of their value.
        missed: whether it holds tensors of which nothing shows where they came from.
        lengths: the parameters that are lengths of a normalized weight, by name.
        charts: the weights that are assigned through `right_inverse`, by the name of their carrier.
        refused: why a weight cannot be assigned though it has a `right_inverse`, by parameter.
        returned: the parameters that the model returns, or something made of them alone.
        complex: the parameters of complex numbers.
        channels_last: the tensors of the example of four axes or more whose units lie along the last.
    """

    shapes: dict[str, tuple[int, ...]]
    outputs: tuple[int, ...]
    how: str
    aliases: dict[str, str] = field(default_factory=dict)
    given: dict[int, Given] = field(default_factory=dict)
    missed: bool = False
    lengths: dict[str, Length] = field(default_factory=dict)
    charts: dict[str, Chart] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    returned: frozenset[str] = frozenset()
    complex: frozenset[str] = frozenset()
    channels_last: frozenset[int] = frozenset()

    def units_of_input(self, value: int) -> int:
        """Return the axis along which the units of a tensor of the example lie.

        It is the last one, and the second one of an image that is stored with its channels first.
        """
        rank = len(self.sizes.get(value, ()))
        return 1 if rank >= 4 and value not in self.channels_last else max(rank - 1, 0)

    @cached_property
    def of_constants(self) -> frozenset[int]:
        """The values that nothing of the example goes into: fixed tensors, what is made of them."""
        found = {value for value, given in self.given.items() if given.fixed}
        for op in self.ops:
            if found.issuperset(op.inputs):
                found.update(op.outputs)
        return frozenset(found)

    @cached_property
    def norms(self) -> dict[int, int]:
        """Norm layers, torch's own and others: the index of the last step, and what it is given."""
        return find_norms(self)

    def second_of_norm(self, op: Op) -> float:
        """The second moment of what a norm layer makes before its scale: 1, or 1/n of a length."""
        return op.detail.second if op.kind == "norm" else self.once(_second_in_steps, op.index)

    @cached_property
    def scales_inside(self) -> dict[int, int]:
        """Scales and shifts inside norm layers in steps, and the last step of each, by index."""
        return scales_inside(self, self.norms)

    def scaling(self, end: Op) -> list[Op]:
        """The scales and shifts inside the norm layer in steps that an operation ends, by their order.

        A parameter counts once: that of `x * a + (b - mean * a)` scales the signal and the mean.
        """
        found = dict[tuple[str, ...], Op]()
        for index in sorted(at for at, last in self.scales_inside.items() if last == end.index):
            found.setdefault(tuple(use.parameter for use in self.ops[index].uses), self.ops[index])
        return list(found.values())

    @cached_property
    def joins(self) -> dict[int, Join]:
        """The residual sums, by the index of the operation."""
        return find_joins(self, self.scales_inside)

    @cached_property
    def branches(self) -> dict[int, int]:
        """How many branches each residual stream collects."""
        return dict(Counter(join.stream for join in self.joins.values()))

    @cached_property
    def ending(self) -> dict[int, Join]:
        """The operations that end a residual branch, by index, and the sum that each writes to."""
        return {index: join for join in reversed(self.joins.values()) for index in join.ends}

    def inside(self, join: Join) -> set[int]:
        """The operations of a branch, by index."""
        behind, waiting = dict[int, Op](), [join.branch]
        while waiting:
            value = waiting.pop()
            op = self.producers.get(value)
            if op is not None and value > join.start and op.index not in behind:
                behind[op.index] = op
                waiting.extend(op.inputs)
        found, made = set[int](), {join.start}
        for index in sorted(behind):
            if not made.isdisjoint(behind[index].inputs):
                found.add(index)
                made.update(behind[index].outputs)
        return found

    def only_returned(self, op: Op) -> bool:
        """Whether an operation only puts values side by side, which the model then returns."""
        value = op.outputs[0]
        while op.name in BESIDE or (op.kind == "move" and not op.uses):
            readers = self.consumers.get(value := op.outputs[0], [])
            if not readers:
                return value in self.outputs
            if len(readers) > 1:
                return False
            op = readers[0]
        return False

    def uses_of(self, parameter: str) -> list[tuple[Op, Use]]:
        """Every use of a parameter, in the order of execution."""
        return self._uses.get(parameter, [])

    def filled_as(self, parameter: str, layout: Layout) -> Layout:
        """Return what a parameter's axes mean to what fills it, which its use as a weight says."""
        uses = () if layout.is_map else self.uses_of(parameter)
        return next((use.layout for _, use in uses if use.layout.is_map), layout)

    def made_as_filled(self, made: Made) -> Made:
        """Return how a tensor is made, each of its parts with the layout that it is filled by."""
        layouts = [self.filled_as(part.parameter, part.layout) for part in made.parts]
        if all(a is part.layout for a, part in zip(layouts, made.parts, strict=True)):
            return made
        pairs = zip(made.parts, layouts, strict=True)
        return replace(made, parts=tuple(replace(part, layout=its) for part, its in pairs))

    @property
    def unused(self) -> list[str]:
        """The parameters that no operation used, and that are not returned."""
        used = self._uses.keys() | self.parts.keys() | self.returned
        return [name for name in self.shapes if name not in used]

    @cached_property
    def parts(self) -> dict[str, str]:
        """The parameters that follow from a weight, and the parameter that stands for the weight."""
        found = {name: length.of for name, length in self.lengths.items()}
        for chart in self.charts.values():
            found |= dict.fromkeys(chart.parameters, chart.carrier)
            del found[chart.carrier]
        return found

    @cached_property
    def _uses(self) -> dict[str, list[tuple[Op, Use]]]:
        found: dict[str, list[tuple[Op, Use]]] = {}
        for op in self.ops:
            for use in op.uses:
                found.setdefault(use.parameter, []).append((op, use))
        return found

    @cached_property
    def elementwise(self) -> set[int]:
        """The operations that were seen to be elementwise, by index: each is tried once."""
        return set()

    def once(self, find: Callable[[Graph, int], T], value: int) -> T:
        """Return `find(graph, value)`, computed at the first call and kept with the graph."""
        known = self._found.setdefault(find, {})
        if value not in known:
            known[value] = find(self, value)
        found: T = known[value]
        return found

    @cached_property
    def _found(self) -> dict[Callable[[Graph, int], Any], dict[int, Any]]:
        return {}


def _second_in_steps(graph: Graph, index: int) -> float:
    return second_in_steps(graph, graph.ops[index])
