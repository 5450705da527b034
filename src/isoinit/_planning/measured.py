"""What was measured where the signal cannot be computed, and the notes of a plan on the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from isoinit._planning.charts import stored
from isoinit._planning.choose import choosing
from isoinit._planning.propagation import Measured, Walk
from isoinit._planning.rules import Choice
from isoinit._reading.graph import Graph
from isoinit._reading.roles import Role
from isoinit._showing.findings import listed
from isoinit._writing.entry import Entry

if TYPE_CHECKING:
    from torch import nn

SHOWN = 4  # names in a sentence
CONSTANT = (
    "it is neither a tensor of the example nor computed from one by torch's functions, but a buffer "
    "or a result of NumPy"
)


class Runs(Protocol):
    """A model and its example, run with a plan's own values and left as they were."""

    def moments(
        self,
        graph: Graph,
        asked: Collection[int],
        entries: Mapping[str, Entry],
        walk: Walk[Any] | None,
        chosen: dict[str, Choice],
    ) -> Measured:
        """Return the moments of some values: see `measure`.

        Args:
            graph: what the model does with the example.
            asked: the values.
            entries: what each parameter is filled with.
            walk: the walk that chooses initializers anew as moments become known; None to keep them.
            chosen: where that walk puts what it chooses.
        """
        ...

    def again(self, entries: Mapping[str, Entry]) -> Graph | None:
        """Return the graph of a run with planned values, for a forward that branches on values.

        None if these cannot be lent: compiled code runs with its own, and rarely branches on them.

        Raises:
            TraceError: if the model cannot be run with them.
        """
        ...


@dataclass(frozen=True)
class TorchRuns:
    """A torch model and its example: see `Runs`."""

    model: nn.Module
    batch: Any

    def moments(
        self,
        graph: Graph,
        asked: Collection[int],
        entries: Mapping[str, Entry],
        walk: Walk[Any] | None,
        chosen: dict[str, Choice],
    ) -> Measured:
        """Return the moments of some values."""
        from isoinit._planning.calibration import measure_moments

        return measure_moments(self.model, self.batch, graph, asked, entries, walk, chosen)

    def again(self, entries: Mapping[str, Entry]) -> Graph | None:
        """Return the graph of a run with planned values."""
        from isoinit._planning.calibration import read_with

        return read_with(self.model, self.batch, entries)


def measure(
    runs: Runs,
    graph: Graph,
    asked: Collection[int],
    roles: Mapping[str, Role],
    choices: Mapping[str, Choice],
    method: str = "",
) -> Measured:
    """Return the moments of what was asked for, measured in one run with a plan's own values.

    Args:
        runs: the model on the example that it was read with.
        graph: what it does with the example.
        asked: the values that cannot be worked out.
        roles: what each parameter is for.
        choices: what it gets.
        method: as for `choose`, where weights are to be chosen anew for what is measured before
            them; "" to keep the choices.
    """
    chosen: dict[str, Choice] = {}

    def tell(name: str, choice: Choice) -> None:
        chosen[name] = choice.when_grown

    walk = choosing(graph, dict(roles), method, tell) if method else None
    if method:
        choices = {name: choice.when_grown for name, choice in choices.items()}
    return runs.moments(graph, asked, fills(graph, roles, choices), walk, chosen)


def fills(
    graph: Graph, roles: Mapping[str, Role], choices: Mapping[str, Choice]
) -> dict[str, Entry]:
    """Return what each parameter is filled with, as entries without reasons and types."""
    layouts = {name: stored(graph, name, role.layout) for name, role in roles.items()}
    return {
        name: Entry(name, "", choices[name].initializer, layout, "", "", "", must_differ=False)
        for name, layout in layouts.items()
    }


def lost_notes(
    graph: Graph, unknown: Mapping[int, str], why: str, choices: Mapping[str, Choice]
) -> Iterator[str]:
    """Yield a sentence for the weights whose input is not known, by what lost it.

    Args:
        graph: what the model does.
        unknown: the values that are not known, and the operation that lost each.
        why: why they were not measured.
        choices: what each parameter gets; those that no rule chose are not scaled for a signal.
    """
    lost_by: dict[str, list[str]] = {}
    for value, by in unknown.items():
        asked = f"was not measured ({why})" if why else "was not measured"
        because = f"it goes through {by}, which isoinit cannot follow, and {asked}"
        lost_by.setdefault(because, []).extend(readers(graph, value))
    fed = {use.parameter for op in graph.ops if op.inputs for use in op.uses}
    maps = [op for op in graph.ops if op.kind == "map" and not op.inputs]
    constant = [use.parameter for op in maps for use in op.uses if use.slot == "weight"]
    lost_by[CONSTANT] = [name for name in constant if name not in fed]
    for because, names in lost_by.items():
        names = [repr(name) for name in dict.fromkeys(names) if choices[name].rule]
        if names:
            scaled = "these weights are" if len(names) > 1 else "the weight is"
            yield (
                f"the size of the input of {listed(names, SHOWN)} is not known: {because}; "
                f"{scaled} scaled for a signal of unit size"
            )


def readers(graph: Graph, value: int) -> list[str]:
    """Return the weights that are applied to a value."""
    uses = [use for op in graph.consumers.get(value, []) for use in op.uses]
    return [use.parameter for use in uses if "weight" in use.slot]
