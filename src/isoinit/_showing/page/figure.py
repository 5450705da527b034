"""A model as a graph, as plain data: boxes on trunks, and branches that leave a trunk and return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Sizes = Sequence[float | None]


@dataclass(frozen=True)
class Box:
    """One layer, or the layers at one place of a block that repeats.

    Attributes:
        name: that of all of them.
        label: the end of it, to be written in the box.
        kind: "norm" for a norm layer, "layer" for any other.
        told: what is written in the box, by name; the least and the largest of numbers that differ.
        sizes: of each of them, from the first block to the last: what it is coloured by; None where
            that is not known. Empty where nothing is coloured.
    """

    name: str
    label: str
    kind: str
    told: Sequence[tuple[str, str | float | tuple[float, float]]]
    sizes: Sizes


@dataclass(frozen=True)
class Row:
    """Boxes side by side: what they compute does not depend on each other."""

    boxes: Sequence[Box]


@dataclass(frozen=True)
class Branch:
    """What leaves the trunk and is added to it again.

    Attributes:
        name: what the names of its layers begin with.
        parts: of the branch.
        skip: what lies on the trunk meanwhile.
    """

    name: str
    parts: Sequence[Row | Branch | Block]
    skip: Sequence[Row | Branch | Block] = ()


@dataclass(frozen=True)
class Block:
    """What repeats, drawn once.

    Attributes:
        name: of the blocks: `h.0…11`.
        times: how often.
        parts: what each is made of.
    """

    name: str
    times: int
    parts: Sequence[Row | Branch | Block]


@dataclass(frozen=True)
class Figure:
    """A model from its input to its output.

    Attributes:
        title: a heading.
        caption: what boxes are coloured by, in words.
        parts: from the input to the output.
    """

    title: str
    caption: str
    parts: Sequence[Row | Branch | Block]
