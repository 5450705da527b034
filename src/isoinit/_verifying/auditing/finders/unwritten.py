"""Memory that an initialization never writes, and values computed from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from isoinit._showing.findings import Finding, listed
from isoinit._verifying.auditing.facts import Facts

WRITE = "in init_weights, _init_weights or reset_parameters"
MOST = 3  # kinds that are told one by one
EMPTY = "torch.nn.Module.to_empty does not write memory, and no constructor runs after it"


def never_written(facts: Facts) -> Iterator[Finding]:
    """Tensors that hold what their memory held."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, missing in facts.missing.items():
        if missing.never == facts.first.tensors[name].numel():
            groups[_origin(facts, name)].append(name)
    if names := [name for some in groups.values() for name in some]:
        several = len(groups) > 1
        told = [f"{words}: {listed(groups[words])}" if several else words for words in groups]
        more = f"; and {len(told) - MOST} kinds more" if len(told) > MOST else ""
        yield Finding(
            "never written",
            "error",
            tuple(names),
            float(sum(facts.missing[name].never for name in names)),
            0.0,
            EMPTY,
            f"write {_it(names)} {WRITE}",
            f"{listed(names)}: no initialization writes {_it(names)}, and {_holds(names)} whatever "
            f"the memory held ({'; '.join(told[:MOST])}{more})",
        )


def partly_written(facts: Facts) -> Iterator[Finding]:
    """Tensors of which a part holds what its memory held."""
    parts = {
        name: f"{name}: {missing.never:,} of {facts.first.tensors[name].numel():,} elements are never "
        f"written, the first at {list(missing.first)}"
        for name, missing in facts.missing.items()
        if 0 < missing.never < facts.first.tensors[name].numel()
    }
    if parts:
        yield Finding(
            "partly written",
            "error",
            tuple(parts),
            float(sum(facts.missing[name].never for name in parts)),
            0.0,
            EMPTY,
            f"write every element {WRITE}",
            "; ".join([*parts.values()][:MOST])
            + (f"; and {len(parts) - MOST} more" if len(parts) > MOST else ""),
        )


def computed(facts: Facts) -> Iterator[Finding]:
    """Values that were computed from memory that nothing had written."""
    names = [n for n, m in facts.missing.items() if m.computed and not m.never]
    if names:
        yield Finding(
            "computed from nothing",
            "error",
            tuple(names),
            float(sum(facts.missing[name].computed for name in names)),
            0.0,
            EMPTY,
            f"first write the tensor that the values are computed from, {WRITE}",
            f"{listed(names)}: computed from memory that nothing had written, so the values depend on "
            "that memory",
        )


def _origin(facts: Facts, name: str) -> str:
    """What the constructors know of a tensor, in words."""
    values = facts.before(name)
    if values is None:
        return "the value from a constructor on the CPU is not known"
    if values.is_floating_point() and bool(values.isnan().all()):
        return "no constructor writes it either"
    if name in facts.chance:
        return "the constructor alone draws it"
    number = facts.number_before(name)
    return f"the constructor alone gives {'a table' if number is None else number}"


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _holds(names: Sequence[str]) -> str:
    return "it holds" if len(names) == 1 else "they hold"
