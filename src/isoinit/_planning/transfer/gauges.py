"""Multipliers of a forward, moved into the parameters around them.

Each multiplier is the constant of an equation (`equations`). A solution gives every parameter a gauge:
how many times larger it is stored. There are many; taken is the nearest to the multiplier: none at all
if multipliers cancel on their way, else the parameters that make the signal, else those too that read
it, else all that write to the residual streams. What has no solution only the forward could do.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from isoinit._planning.transfer.equations import Equation, Key, System, scored, skipped
from isoinit._reading.graph import Array, Graph, Op, Use

EXACT = 1e-9


@dataclass
class Gauges:
    """The gauges of a model.

    Attributes:
        sizes: of each value and parameter that has one, the logarithm.
        why: the multipliers that each parameter's gauge stands for, by the index of the operation.
        left: operations whose multipliers have no place, by index; those that hang together in one.
        whole: the streams' operations whose multiplier went into a whole residual stream.
    """

    sizes: dict[Key, float] = field(default_factory=dict)
    why: dict[str, list[int]] = field(default_factory=dict)
    left: list[tuple[int, ...]] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)

    def of(self, key: Key) -> float:
        """Return how many times larger a value or a parameter is, without the last digits' noise."""
        return float(f"{math.exp(self.sizes.get(key, 0.0)):.12g}")


def gauges(graph: Graph, system: System) -> Gauges:
    """Return where the multipliers of a forward go."""
    return _Solver(graph, system).solve()


def _equal_values(region: list[Equation], free: set[Key]) -> dict[Key, int]:
    """Return for each free value one that stands for all that must be as large."""
    same: dict[Key, int] = {key: key for key in free if isinstance(key, int)}

    def first(key: int) -> int:
        while same[key] != key:
            same[key] = key = same[same[key]]
        return key

    for equation in region:
        keys = list(equation.terms)
        if not equation.offset and sorted(equation.terms.values()) == [-1.0, 1.0]:
            one, other = keys
            if one in same and other in same:
                same[first(same[one])] = first(same[other])
    return {key: first(stands) for key, stands in same.items()}


def _least(matrix: Array, wanted: Array, values: int) -> Array | None:
    """Return the solution whose gauges of parameters are least; None if there is none.

    Args:
        matrix: the factors, a row an equation: columns of values, then those of parameters.
        wanted: the right side.
        values: how many columns are values, whose size costs nothing.
    """
    left, right = matrix[:, :values], matrix[:, values:]
    basis, sizes, _ = np.linalg.svd(left, full_matrices=True)
    rest = basis[:, int((sizes > EXACT).sum()) :].T  # what no value can make up for
    names = np.linalg.pinv(rest @ right, rcond=EXACT) @ (rest @ wanted)
    found = np.linalg.pinv(left, rcond=EXACT) @ (wanted - right @ names)
    error = np.abs(left @ found + right @ names - wanted).max(initial=0.0)
    return np.concatenate([found, names]) if error < EXACT else None


class _Solver:
    """Solves the equations of one graph, one connected group of multipliers after the other."""

    def __init__(self, graph: Graph, system: System) -> None:
        self.graph, self.system = graph, system
        self.streams = {v for j in graph.joins.values() for v in (skipped(j), *j.op.outputs)}
        self.still = self.streams | system.returned
        self.steps: dict[int, set[int]] = {}
        self.at: dict[Key, list[Equation]] = {}
        for equation in system.equations:
            for key in equation.terms:
                self.at.setdefault(key, []).append(equation)

    def solve(self) -> Gauges:
        found = Gauges()
        waiting = [equation for equation in self.system.equations if equation.offset]
        for seeds in self._together(waiting):
            self._place(seeds, found)
        return found

    def _together(self, seeds: list[Equation]) -> Iterator[list[Equation]]:
        """Yield the multipliers in groups that must be solved at once."""
        groups: list[tuple[set[int], list[Equation]]] = []
        for seed in seeds:
            near = {id(e) for e in self._region([seed], self._makers([seed]), self.streams)}
            way = self._way(seed, seeds)
            near |= {id(one) for one in seeds if one.op in way}
            mine = [group for group in groups if group[0] & near]
            joined = near.union(*(group[0] for group in mine))
            members = [e for group in mine for e in group[1]]
            groups = [group for group in groups if not group[0] & near]
            groups.append((joined, [*members, seed]))
        yield from (members for _, members in groups)

    def _place(self, seeds: list[Equation], found: Gauges) -> None:
        """Solve one group: as multipliers that cancel, else one by one, else those left at once."""
        # What cancels changes nothing that the model returns.
        if self._added(seeds, found, self._solved(seeds, set(), self.streams)):
            return
        single = {id(seed): self._near([seed]) for seed in seeds}
        left = [seed for seed in seeds if single[id(seed)] is None]
        rest = [seed for seed in seeds if single[id(seed)] is not None]
        together = self._joined(left) if len(left) > 1 else None
        if left and together is None and rest and self._added(seeds, found, self._near(seeds)):
            return  # what one of them wants the others can make up for
        left = [] if self._added(left, found, together) else self._by_writers(left, found)
        while left:  # what stands on the way of one that has no place is left with it
            way = self._way(left[0], [*left, *rest])
            found.left.append(tuple(sorted(way)))
            left, rest = ([e for e in some if e.op not in way] for some in (left, rest))
        for seed in rest:
            self._added([seed], found, single[id(seed)])

    def _by_writers(self, seeds: list[Equation], found: Gauges) -> list[Equation]:
        """Solve multipliers by all that writes to residual streams; return those left after that."""
        tries = [seeds] if len(seeds) == 1 else [seeds, *([seed] for seed in seeds)]
        for some in tries if seeds else []:  # one that has no place is in the way of the others
            writers = self._makers(some) | self._writers()
            if self._added(some, found, self._solved(some, writers, self.system.returned)):
                found.whole += [seed.op for seed in some]
                seeds = [seed for seed in seeds if seed not in some]
        return seeds

    def _joined(self, seeds: list[Equation]) -> dict[Key, float] | None:
        """Solve several multipliers at once: as some that cancel, else by what is near."""
        sizes = self._solved(seeds, set(), self.streams)
        return self._near(seeds) if sizes is None else sizes

    def _near(self, seeds: list[Equation]) -> dict[Key, float] | None:
        """Solve multipliers by what makes their signals, or that and what reads these."""
        makers = self._makers(seeds)
        tied = {use.parameter for seed in seeds for use in self._weights(seed)}
        tries = [makers - tied, makers, makers | self._readers(makers)]
        found = (self._solved(seeds, allowed, self.still) for allowed in tries)
        return next((sizes for sizes in found if sizes is not None), None)

    def _added(self, seeds: list[Equation], found: Gauges, sizes: dict[Key, float] | None) -> bool:
        """Add what solves some multipliers; return whether anything does."""
        for key, size in (sizes or {}).items():
            found.sizes[key] = found.sizes.get(key, 0.0) + size
            if isinstance(key, str):
                found.why.setdefault(key, []).extend(seed.op for seed in seeds)
        return sizes is not None

    def _solved(
        self, seeds: list[Equation], allowed: set[str], still: Collection[Key]
    ) -> dict[Key, float] | None:
        """Return the gauges that solve a group's equations with these parameters; None if none do."""
        region = self._region(seeds, allowed, still)
        free = {k for e in region for k in e.terms if self._free(k, allowed, still)}
        same = _equal_values(region, free)
        values = sorted({same[k] for k in free if isinstance(k, int)})
        names = sorted(k for k in free if isinstance(k, str))
        place = {key: at for at, key in enumerate([*values, *names])}
        chosen = {id(seed) for seed in seeds}
        rows, wanted = list[list[float]](), list[float]()
        for equation in region:
            row = [0.0] * len(place)
            for key, factor in equation.terms.items():
                if key in free:
                    row[place[same.get(key, key)]] += factor
            offset = equation.offset if id(equation) in chosen else 0.0
            if any(row) or offset:
                rows.append(row)
                wanted.append(-offset)
        found = _least(np.array(rows).reshape(len(rows), -1), np.array(wanted), len(values))
        if found is None:
            return None
        sizes = {key: float(found[place[same.get(key, key)]]) for key in free}
        return {key: size for key, size in sizes.items() if abs(size) > EXACT}

    def _free(self, key: Key, allowed: Collection[str], still: Collection[Key]) -> bool:
        if key in self.system.fixed or key in still:
            return False
        return isinstance(key, int) or key in allowed

    def _region(
        self, seeds: list[Equation], allowed: Collection[str], still: Collection[Key]
    ) -> list[Equation]:
        """Return the equations that hang together with some by what is free, in their order."""
        found = {id(seed): seed for seed in seeds}
        waiting, seen = list(seeds), set[Key]()
        while waiting:
            for key in waiting.pop().terms:
                if key not in seen and self._free(key, allowed, still):
                    seen.add(key)
                    new = [e for e in self.at[key] if id(e) not in found]
                    found.update((id(e), e) for e in new)
                    waiting += new
        return list(found.values())

    def _makers(self, seeds: list[Equation]) -> set[str]:
        """The parameters nearest before some operations: those that make the signal."""
        found = set[str]()
        for seed in seeds:
            op = self.graph.ops[seed.op]
            join = self.graph.joins.get(op.index)
            near = [join.branch] if join is not None else None
            if op.name == "scaled_dot_product_attention":
                near = list(scored(self.graph, op))
            found |= self._before(op, near)
        return found - self.system.fixed

    def _way(self, seed: Equation, seeds: list[Equation]) -> set[int]:
        """The operations of those multipliers that have no layer between them and one, by index."""
        behind = self._steps(seed.op)
        return {seed.op} | {
            one.op for one in seeds if one.op in behind or seed.op in self._steps(one.op)
        }

    def _steps(self, index: int) -> set[int]:
        """The operations between one and the layers before it, by index."""
        if index in self.steps:
            return self.steps[index]
        found, waiting = self.steps.setdefault(index, set()), list(self.graph.ops[index].inputs)
        while waiting:
            step = self.graph.producers.get(at := waiting.pop())
            if step is None or at in self.streams or step.index in found:
                continue
            if step.index in self.graph.norms or not self._absorbs(step):
                found.add(step.index)
            if not self._absorbs(step):
                waiting += step.inputs
        return found

    def _weights(self, seed: Equation) -> tuple[Use, ...]:
        """The weights of a map whose result is multiplied: these have uses elsewhere."""
        op = self.graph.ops[seed.op]
        return op.uses if op.kind == "map" else ()

    def _before(self, op: Op, values: list[int] | None) -> set[str]:
        found = set[str]() if values else {use.parameter for use in op.uses}
        waiting = list(values or op.inputs)
        if values is None and self._absorbs(op) and op.kind == "attention":
            return found
        seen = set(waiting)
        while waiting:
            at = waiting.pop()
            step = self.graph.producers.get(at)
            if step is None or at in self.streams:
                continue
            found |= {use.parameter for use in step.uses}
            if not self._absorbs(step):
                new = [v for v in step.inputs if v not in seen]
                seen.update(new)
                waiting += new
        return found

    def _absorbs(self, op: Op) -> bool:
        """Whether an operation's own parameters set the size of what it makes, or nothing does."""
        own = any(use.slot not in ("bias", "shift", "other") for use in op.uses)
        return own or op.index in self.graph.norms

    def _readers(self, makers: set[str]) -> set[str]:
        """The parameters of what reads the signals that some parameters make."""
        found, seen = set[str](), set[int]()
        waiting = [v for name in makers for op, _ in self.graph.uses_of(name) for v in op.outputs]
        while waiting:
            at = waiting.pop()
            if at in seen or at in self.streams:
                continue
            seen.add(at)
            for op in self.graph.consumers.get(at, []):
                found |= {use.parameter for use in op.uses}
                if not op.uses:
                    waiting += op.outputs
        return found - self.system.fixed

    def _writers(self) -> set[str]:
        """The parameters nearest before the streams: of what they start with, and of all branches."""
        found = set[str]()
        for join in self.graph.joins.values():
            found |= self._before(join.op, [join.branch])
            start = self.graph.producers.get(skipped(join))
            if start is not None and start.index not in self.graph.joins:
                found |= {use.parameter for use in start.uses}
                if not self._absorbs(start):
                    found |= self._before(start, list(start.inputs))
        return found - self.system.fixed
