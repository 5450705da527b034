"""An outline as the figure of a page: what stands in each box, and what it is coloured by."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile

from isoinit._reading.outline import Fork, Level, Outline, Part, Place, Repeat
from isoinit._showing.folding import together
from isoinit._showing.page import Block, Box, Branch, Figure, Row, in_one

Drawn = Row | Branch | Block


def figure(
    outline: Outline,
    caption: str,
    sizes: Mapping[str, float | None],
    told: Mapping[str, Mapping[str, str | float | None]],
) -> Figure:
    """Return the figure of a model.

    Args:
        outline: of the model.
        caption: what boxes are coloured by, in words.
        sizes: what they are coloured by, by the layer's name; without any, nothing is.
        told: what is written in them, by the layer's name.
    """

    def box(place: Place, start: str) -> Box:
        name = together(place.names)
        said = [(what, in_one([of.get(n) for n in place.names])) for what, of in told.items()]
        return Box(
            name,
            name.removeprefix(start),
            "norm" if place.norm else "layer",
            [(what, value) for what, value in said if value is not None],
            [sizes.get(n) for n in place.names] if sizes else [],
        )

    return Figure("The model", caption, _drawn(outline.parts, _shared(outline.parts), box))


def _drawn(parts: Sequence[Part], start: str, box: Callable[[Place, str], Box]) -> list[Drawn]:
    """Parts as they are drawn; labels leave out the start of the name that the block tells."""
    found: list[Drawn] = []
    for part in parts:
        if isinstance(part, Level):
            found.append(Row([box(place, start) for place in part.places]))
            continue
        shared = _shared([part])
        if isinstance(part, Repeat):
            name = shared[:-1]
            found.append(Block(name, part.times, _drawn(part.parts, shared, box)))
        else:
            skip = _drawn(part.skip, shared, box)
            name = shared.removeprefix(start)[:-1]
            found.append(Branch(name, _drawn(part.parts, shared, box), skip))
    return found


def _shared(parts: Sequence[Part]) -> str:
    """The start that all names have in common, up to a dot, or a slash in a path of Keras."""
    names = [re.findall(r"[^./]*[./]", together(place.names)) for place in _places(parts)]
    shared = takewhile(lambda part: len(set(part)) == 1, zip(*names, strict=False))
    return "".join(part[0] for part in shared)


def _places(parts: Sequence[Part]) -> list[Place]:
    found: list[Place] = []
    for part in parts:
        if isinstance(part, Level):
            found += part.places
        else:
            found += _places(part.parts)
            found += _places(part.skip) if isinstance(part, Fork) else []
    return found
