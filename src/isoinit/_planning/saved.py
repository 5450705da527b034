"""A plan as JSON: what `Plan.save` writes and `Plan.load` reads."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from isoinit._system.formats import Format
from isoinit._writing.entry import Entry
from isoinit.errors import ArgumentError, PlanError

FORMAT = Format(
    "format", "isoinit plan", 1, "plan", "make the plan again, or use the isoinit that wrote it"
)


def written(
    entries: Mapping[str, Entry],
    aliases: Mapping[str, str],
    method: str,
    how: str,
    seed: int | None,
    notes: Sequence[str],
) -> str:
    """Return the JSON text of a plan; the arguments are a plan's fields."""
    parameters = {name: entry.to_dict() for name, entry in entries.items()}
    head = {**FORMAT.header, "method": method, "how": how}
    if seed is not None:
        head["seed"] = seed
    rest = {"notes": notes, "aliases": aliases, "parameters": parameters}
    return json.dumps({**head, **rest}, indent=1)


def read(text: str) -> dict[str, Any]:
    """Return the fields of the plan that `written` wrote.

    Raises:
        PlanError: as `Plan.from_json` does.
    """
    data = FORMAT.parse(text)
    try:
        return {
            "entries": {n: Entry.from_dict(n, item) for n, item in data["parameters"].items()},
            "aliases": dict(data["aliases"]),
            "method": data["method"],
            "how": data["how"],
            "seed": None if data.get("seed") is None else operator.index(data["seed"]),
            "notes": tuple(map(str, data.get("notes", ()))),
        }
    except (KeyError, TypeError, AttributeError, ArgumentError) as error:
        kind = "a missing field: " if isinstance(error, KeyError) else ""
        raise PlanError(f"the plan holds what no plan can: {kind}{error}") from None
