"""A plan as JSON: what `Plan.save` writes and `Plan.load` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from isoinit._planning.charts import FOLLOWING, followed
from isoinit._system.formats import Format
from isoinit._system.schema import fault, named, read_fields, shown
from isoinit._writing.entry import Entry
from isoinit._writing.factors import Setting
from isoinit.errors import ArgumentError, PlanError

FORMAT = Format(
    "format", "isoinit plan", 1, "plan", "make the plan again, or use the isoinit that wrote it"
)
HOW = ("fake", "real", "structure", "jaxpr")
FIELDS = {
    **dict.fromkeys(FORMAT.header, Any),
    "method": str,
    "how": str,
    "seed": int | None,
    "transfer": Setting | None,
    "notes": tuple[str, ...],
    "aliases": dict[str, str],
    "parameters": Mapping,
}


def written(
    entries: Mapping[str, Entry],
    aliases: Mapping[str, str],
    method: str,
    how: str,
    seed: int | None,
    notes: Sequence[str],
    transfer: Setting | None,
) -> str:
    """Return the JSON text of a plan; the arguments are a plan's fields."""
    parameters = {name: entry.to_dict() for name, entry in entries.items()}
    head = {**FORMAT.header, "method": method, "how": how}
    if seed is not None:
        head["seed"] = seed
    if transfer is not None:
        head["transfer"] = transfer.to_dict()
    rest = {"notes": notes, "aliases": aliases, "parameters": parameters}
    return json.dumps({**head, **rest}, indent=1)


def read(text: str) -> dict[str, Any]:
    """Return the fields of the plan that `written` wrote.

    Raises:
        PlanError: as `Plan.from_json` does.
    """
    data = FORMAT.parse(text)
    try:
        found = read_fields(FIELDS, data, (), ["seed", "transfer", "notes"])
        if found["how"] not in HOW:
            raise fault(("how",), found["how"], f"one of {', '.join(HOW)}")
        entries = _entries(found.pop("parameters"))
        _refuse_contradictions(entries, found["aliases"])
        if found.get("transfer") is None and (some := [n for n, e in entries.items() if e.factors]):
            raise ArgumentError(f"parameters.{some[0]} has factors, but the plan has no transfer")
    except ArgumentError as error:
        raise PlanError(f"the plan is not valid: {error}") from error
    return {
        **{n: value for n, value in found.items() if n not in FORMAT.header},
        "entries": entries,
    }


def _entries(parameters: Mapping[str, Any]) -> dict[str, Entry]:
    """Return the entries of a plan; objects that are one are read once.

    Raises:
        ArgumentError: as `Entry.from_dict`.
    """
    found: dict[str, Entry] = {}
    met: dict[int, Entry] = {}
    for name, item in parameters.items():
        if (entry := met.get(id(item))) is None:
            entry = met[id(item)] = Entry.from_dict(name, item, ("parameters", name))
        found[name] = entry.called(name)
    return found


def _refuse_contradictions(entries: Mapping[str, Entry], aliases: Mapping[str, str]) -> None:
    """Raise for entries and aliases each of which could be, but not beside the others.

    Raises:
        ArgumentError: naming the first.
    """
    for name, other in aliases.items():
        if other not in entries:
            raise fault(("aliases", name), other, "the name of a parameter of the plan")
        if name in entries:
            raise ArgumentError(f"aliases: {shown(name)} is also an entry of the plan")
    for name, entry in entries.items():
        at = ("parameters", name)
        if entry.copies and (entry.copies not in entries or entries[entry.copies].copies):
            raise fault(
                (*at, "copies"), entry.copies, "a parameter of the plan that is not itself a copy"
            )
        made = entry.initializer
        of = made.of if isinstance(made, FOLLOWING) else None
        if of is not None and of not in entries:
            raise fault((*at, "initializer", "of"), of, "the name of a parameter of the plan")
        follows = bool(entry.copies) or of is not None  # most follow from none
        if follows and entry != (its := followed(name, entries)):
            raise ArgumentError(
                f"{named(at)}{entry.initializer} of shape {entry.shape} does not match "
                f"{shown(entry.copies or of)}: {its.initializer} of shape {its.shape}. Load the "
                f"original plan, and override {shown(entry.copies or of)}"
            )
