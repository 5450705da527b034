"""What parameters get that a module computes a weight of: what makes it the weight that was chosen."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream
from isoinit._planning.rules import Choice
from isoinit._reading.graph import Array, Chart, Graph
from isoinit._reading.roles import Role
from isoinit._writing.entry import Entry
from isoinit.errors import ArgumentError
from isoinit.initializers import (
    Assigned,
    Directions,
    Initializer,
    KinkBias,
    LeCunNormal,
    Normal,
    Norms,
    Orthogonal,
    bare,
)
from isoinit.initializers.norms import vanishing_rows
from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout

ALIKE = 1e-2  # relative difference that rounding and an unfinished power iteration may leave
FOLLOWING = (Assigned, KinkBias, Norms)  # initializers that follow from the entry of their `of`
PAPER = "Salimans & Kingma 2016, eq. 2"


def carried(
    graph: Graph, name: str, layout: Layout, choice: Choice, *, strict: bool = False
) -> Choice:
    """Return the choice for a parameter that stands for a weight: the weight is as it was chosen.

    Args:
        graph: knows what the weight is computed of.
        name: the parameter.
        layout: what the weight's axes mean.
        choice: what was chosen for the weight.
        strict: whether nothing else will do.

    Raises:
        ArgumentError: if nothing else will do, and it cannot be assigned.
    """
    if choice.initializer is None:
        return _told(graph, name, choice)
    if name in graph.complex:
        choice = _complex(choice, choice.initializer, layout)
    assert choice.initializer is not None, "none of those is taken away"
    chosen = bare(choice.initializer)
    if (chart := graph.charts.get(name)) is not None:
        return _fitted(chart, layout, choice, chosen, strict=strict)
    for length in graph.lengths.values():
        if length.of == name and vanishing_rows(chosen, layout, length.axis):
            return replace(choice, initializer=Directions(chosen, length.axis))
    return _told(graph, name, choice)


def _complex(choice: Choice, wanted: Initializer, layout: Layout) -> Choice:
    """The choice for complex numbers: normal ones of its size where it draws no single ones."""
    try:
        wanted.complex_part(layout)
    except ArgumentError:
        normal = Normal(std=wanted.std_for(layout))
        why = f"{choice.reason}; {wanted} draws no complex numbers: normal ones of its size"
        return replace(choice, initializer=normal, reason=why)
    return choice


def _told(graph: Graph, name: str, choice: Choice) -> Choice:
    """The choice, unless the parameter makes a weight that cannot be assigned: then it is left."""
    why = graph.refused.get(name)
    return choice if why is None or choice.kept else replace(choice, initializer=None, reason=why)


def _fitted(
    chart: Chart, layout: Layout, choice: Choice, chosen: Initializer, *, strict: bool
) -> Choice:
    """What is assigned for the weight to come out as chosen, or as near as its module allows."""
    tried = _tried(chart, chosen, layout)
    if isinstance(tried, str):
        why = f"its module's right_inverse refuses what {chosen} draws: {tried}"
        if strict:
            raise ArgumentError(f"{chosen} does not fit {chart.carrier!r}: {why}")
        if layout.is_map:  # a bias or a scale has no random start
            chosen, choice = LeCunNormal(), replace(choice, reason=f"{choice.reason}; but {why}")
            tried = _tried(chart, chosen, layout)
    if isinstance(tried, str):
        return replace(choice, initializer=None, reason=why)
    drawn, came = tried
    scale, size = _scale(drawn, came), None
    if not chart.free:
        # What is drawn is kept if it may be. Mirrored pairs need a gain that is not to be had.
        own = chart.direct and _in_line(drawn, came) and not getattr(chosen, "mirror", "")
        if not (own or strict) and (kept := _kept(chart, layout)) is not None:
            chosen, (drawn, came) = Orthogonal(), kept
        choice = replace(choice, reason=f"{choice.reason}; its module prescribes the size")
        scale, size = _scale(came, drawn), _rms(came)  # so that it is assigned as it comes out
    elif scale == 1 and chart.direct:
        return replace(choice, initializer=chosen)
    try:
        return replace(choice, initializer=_assigned(chart, chosen, layout, scale, size))
    except ArgumentError:  # it has no option that sets its size
        return replace(choice, initializer=_assigned(chart, chosen, layout, 1.0, _rms(came)))


def _assigned(
    chart: Chart, base: Initializer, layout: Layout, scale: float, size: float | None
) -> Assigned:
    size = None if size is None else float(f"{size:.4g}")  # the last digits depend on the processor
    part = None if chart.single else chart.parameters.index(chart.carrier)
    made = Assigned(base, chart.carrier, layout, part, chart.direct, scale, size)
    made.std_for(layout)
    return made


def _tried(chart: Chart, base: Initializer, layout: Layout) -> tuple[Array, Array] | str:
    """Return a weight that is drawn, and the weight that comes of assigning it; or why none does."""
    flat = np.empty(math.prod(layout.shape))
    base.fill_piece(flat, Stream(0, chart.carrier), layout, Piece.whole(layout.shape))
    drawn = flat.reshape(layout.shape)
    if not chart.free and not drawn.any():
        return "zeros have no direction"
    try:
        came = chart.assign(drawn)
    except ValueError as failure:
        return str(failure)
    if not np.isfinite(came).all() or bool(came.any()) != bool(drawn.any()):
        return "it makes zeros, NaN or infinity"
    return drawn, came


def _kept(chart: Chart, layout: Layout) -> tuple[Array, Array] | None:
    """Return an orthogonal weight and what comes of it, if that is the same."""
    tried = _tried(chart, Orthogonal(), layout) if layout.is_map else ""
    if isinstance(tried, str):
        return None
    drawn, came = tried
    return tried if _rms(came - drawn) < ALIKE * _rms(drawn) else None


def _in_line(drawn: Array, came: Array) -> bool:
    """Whether the weight that comes out is a multiple of the one that was drawn."""
    return _rms(drawn * _rms(came) - came * _rms(drawn)) < ALIKE * _rms(came) * _rms(drawn)


def _scale(wanted: Array, found: Array) -> float:
    """What makes one weight as large as another; 1 within sampling error."""
    scale = _rms(wanted) / _rms(found) if found.any() else 1.0
    near = abs(scale - 1) < ALIKE + 5 / math.sqrt(found.size)
    return 1.0 if near else float(f"{scale:.4g}")


def _rms(values: Array) -> float:
    return math.sqrt(float(np.square(values).mean()))


def carried_all(
    graph: Graph,
    roles: Mapping[str, Role],
    choices: Mapping[str, Choice],
    given: Collection[str] | None = None,
) -> dict[str, Choice]:
    """Return the choices, those for computed weights made to come out so.

    Args:
        graph: knows which weights are computed.
        roles: what each parameter is for.
        choices: of all parameters.
        given: the parameters whose choice is a user's: only those are looked at, nothing else will
            do for them, and what follows from them follows.

    Raises:
        ArgumentError: if a given choice cannot be assigned.
    """
    made = dict(choices)
    for name in choices if given is None else given:
        layout, strict = roles[name].layout, given is not None
        made[name] = carried(graph, name, layout, choices[name], strict=strict)
    found = companions(graph, roles, made)
    if given is not None:
        found = {n: c for n, c in found.items() if graph.parts[n] in given and n not in given}
    return made | found


def companions(
    graph: Graph, roles: Mapping[str, Role], choices: Mapping[str, Choice]
) -> dict[str, Choice]:
    """Return what the parameters get that follow from a weight for which another one stands.

    Args:
        graph: knows which parameters those are.
        roles: what each parameter is for.
        choices: what the parameters get that stand for weights, or some of them.
    """
    found = {}
    for name, of in graph.parts.items():
        before = roles[name].before
        if (choice := choices.get(of)) is None or (before is not None and before.kept):
            continue
        if choice.kept and choice.initializer is None:
            why = f"kept: it is part of the weight of {of!r}, which is kept"
            found[name] = Choice(None, why, "", kept=choice.kept)
        elif choice.initializer is None:
            found[name] = Choice(None, f"it is part of the weight of {of!r}, which is left", "")
        elif (length := graph.lengths.get(name)) is not None and of not in graph.charts:
            norms = Norms(bare(choice.initializer), of, roles[of].layout, length.axis)
            why = "the norms of what the direction gets, so that the weight starts as that"
            found[name] = Choice(norms, why, PAPER)
        elif isinstance(choice.initializer, Assigned):
            part = graph.charts[of].parameters.index(name)
            made = replace(choice.initializer, part=part)
            found[name] = Choice(made, "what right_inverse gives for its weight", choice.source)
    return found


def stored(graph: Graph, name: str, layout: Layout) -> Layout:
    """Return what the axes mean of a parameter that stands for a weight of this layout."""
    shape = graph.shapes[name]
    if name in graph.charts and layout.shape != shape:
        return fans.vector(shape)
    if layout.padding is not None and any(length.of == name for length in graph.lengths.values()):
        return replace(layout, padding=None)  # its row of the weight is zero by its length
    return layout


def in_step(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return entries in which what follows from another entry's initializer follows from it again."""
    found = dict(entries)
    kinds = {type(entry.initializer) for entry in entries.values()}  # few: entries are many
    linked = {kind for kind in kinds if issubclass(kind, FOLLOWING)}
    for name in [e.name for e in entries.values() if e.copies or type(e.initializer) in linked]:
        found[name] = entry = followed(name, found)
        made = entry.initializer
        of = found.get(made.of) if isinstance(made, Norms) else None
        if isinstance(made, Norms) and of is not None and of.initializer is not None:
            base = bare(of.initializer)
            if vanishing_rows(base, made.layout, made.axis):
                directed = Directions(base, made.axis)
                found[of.name] = replace(of, initializer=directed)
    return found


def followed(name: str, entries: Mapping[str, Entry]) -> Entry:
    """Return an entry as it follows from that of another parameter; itself if it follows from none.

    Nothing is drawn, so that this takes no time and no memory for any size.
    """
    entry = entries[name]
    if (copied := entries.get(entry.copies)) is not None:
        return replace(entry, initializer=copied.initializer, layout=copied.layout)
    made = entry.initializer
    of = entries.get(made.of) if isinstance(made, FOLLOWING) else None
    if of is None or of.initializer is None or of.name == name:
        return entry
    if isinstance(made, Norms):
        return replace(entry, initializer=replace(made, base=bare(of.initializer)))
    if isinstance(made, KinkBias):
        return replace(entry, initializer=replace(made, base=of.initializer))
    if isinstance(made, Assigned) and isinstance(of.initializer, Assigned):
        return replace(entry, initializer=replace(of.initializer, part=made.part))
    return entry
