"""Which parameter of a base model each parameter of a larger one stands for.

Names are trees. Where both models have the same children, those are twins. Numbered children (blocks
of a list, `layer1`, `layer2`, `kernel[2]` of a stack) may be more: each stands for the one of the base
at the nearest place among those that are built like it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from isoinit._reading.roles import Role
from isoinit.errors import PlanError

NUMBERED = re.compile(r"(.*?)(\d+)\]?")
BLOCK = re.compile(r"(.*)\[\d+\]")


@dataclass
class Node:
    """A part of a name, with what lies below it.

    Attributes:
        path: the whole name up to here.
        role: what the parameter of this name is for; None if none has it.
        children: by the next part.
    """

    path: str = ""
    role: Role | None = None
    children: dict[str, Node] = field(default_factory=dict)

    def built(self, *, closely: bool) -> frozenset[Hashable]:
        """What the parameters below are: names from here and ranks, and `closely` their roles."""
        return frozenset(
            (name, len(role.layout.shape), _place(role) if closely else ())
            for name, role in self.below("")
        )

    def below(self, prefix: str) -> Iterator[tuple[str, Role]]:
        """Yield the parameters from here, by the rest of their names."""
        if self.role is not None:
            yield prefix, self.role
        for part, child in self.children.items():
            yield from child.below(f"{prefix}.{part}")


def twins(base: Mapping[str, Role], target: Mapping[str, Role]) -> dict[str, str]:
    """Return for each parameter of the target the one of the base that it stands for.

    Args:
        base: what each parameter of the smaller model is for, by name.
        target: the same of the larger one.

    Raises:
        PlanError: naming the first parameter that has no counterpart, in either model.
    """
    found: dict[str, str] = {}
    _match(_tree(base), _tree(target), found)
    if missing := base.keys() - found.values():
        name = min(missing)
        raise PlanError(
            f"{name!r} of the base has no counterpart in the target: expected two models of the "
            "same architecture that differ only in width and depth"
        )
    return {name: found[name] for name in target}


def _place(role: Role) -> Hashable:
    """What distinguishes the first, the middle and the last of a row of layers."""
    return role.slot, role.source == "input", role.end == "output", role.ends_branch


def _tree(roles: Mapping[str, Role]) -> Node:
    root = Node()
    for name, role in roles.items():
        node = root
        for part in name.split("."):
            path = f"{node.path}.{part}" if node.path else part
            node = node.children.setdefault(part, Node(path))
        node.role = role
    return root


def _match(base: Node, target: Node, found: dict[str, str]) -> None:
    if target.role is not None:
        if base.role is None or len(base.role.layout.shape) != len(target.role.layout.shape):
            raise _unlike(base, target)
        found[target.path] = base.path
    for part, child in target.children.items():
        if base.children.keys() == target.children.keys():
            _match(base.children[part], child, found)
        else:
            _match(_twin(base, target, part), child, found)


def _twin(base: Node, target: Node, part: str) -> Node:
    """Return the child of the base that one of the target stands for, where they are not the same.

    Raises:
        PlanError: if none is built like it.
    """
    child = target.children[part]
    rows = [_row(node, part) for node in (base, target)]
    if not (numbered := rows[0]) or not rows[1]:
        if part in base.children:
            return base.children[part]
        raise _unlike(base, child)
    place = rows[1].index(part) / max(len(rows[1]) - 1, 1)
    for closely in (True, False):
        like = child.built(closely=closely)
        alike = [n for n in numbered if base.children[n].built(closely=closely) == like]
        if alike:
            last = max(len(numbered) - 1, 1)
            nearest = min(alike, key=lambda n: abs(numbered.index(n) / last - place))
            return base.children[nearest]
    raise _unlike(base, child)


def _row(node: Node, part: str) -> Sequence[str]:
    """Return the numbered children that form a row with one, in order; none for another name.

    A stack of one layer is not taken apart, and is a row of itself.
    """
    match = NUMBERED.fullmatch(part)
    if match is None:
        return ()
    found = [m for name in node.children if (m := NUMBERED.fullmatch(name)) and m[1] == match[1]]
    block = BLOCK.fullmatch(part)
    if not found and block is not None and block[1] in node.children:
        return (block[1],)
    return [m[0] for m in sorted(found, key=lambda m: int(m[2]))]


def _unlike(base: Node, target: Node) -> PlanError:
    name = next((f"{target.path}{rest}" for rest, _ in target.below("")), target.path)
    where = f"below {base.path!r} " if base.path else ""
    return PlanError(
        f"{name!r} has no counterpart {where}in the base model: expected two models of the same "
        "architecture that differ only in width and depth"
    )
