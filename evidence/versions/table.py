"""The rows of environments as the tables of docs/supported.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evidence.page import DOCS, place

PAGE = DOCS / "supported.md"
ORDER = ("lowest", "middle", "pinned", "newest")
Row = Mapping[str, Any]


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """Return the last row of each environment."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {row["name"]: row for row in map(json.loads, lines)}


def write(rows: Mapping[str, Row]) -> None:
    """Write what was tried into the page."""
    shown = [rows[name] for name in ORDER if name in rows]
    place(PAGE, "tried", "\n\n".join([_table(shown), *_failures(shown)]))


def _table(rows: Sequence[Row]) -> str:
    packages = list(dict.fromkeys(name for row in rows for name in row["packages"]))
    verbs = list(dict.fromkeys(verb for row in rows for verb in row["faults"]))
    lines = [
        ["", *(row["name"] for row in rows)],
        ["---"] * (len(rows) + 1),
        ["Python", *(row["python"] for row in rows)],
        *(
            [name, *(_release(row["packages"].get(name, "none")) for row in rows)]
            for name in packages
        ),
        *([verb, *(_answer(row["faults"].get(verb)) for row in rows)] for verb in verbs),
        ["digest of the bits", *(f"`{row['bits']}`" for row in rows)],
        ["tests that passed", *(_counts(row, "passed") for row in rows)],
        ["tests that failed", *(_counts(row, "failed", "error") for row in rows)],
        ["tests that were skipped", *(_counts(row, "skipped", "xfail") for row in rows)],
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _failures(rows: Sequence[Row]) -> list[str]:
    """What failed, and its error, by environment."""
    found = []
    for row in rows:
        tests = (row.get("suite") or {}).get("failed", {})
        told = {f"`{verb}`": fault for verb, fault in row["faults"].items() if fault}
        told |= {f"`{_short(test)}`": why for test, why in tests.items()}
        if told:
            lines = [
                f"- {name}: {_plain(why)}" if why else f"- {name}" for name, why in told.items()
            ]
            found.append("\n".join([f"Failed in the {row['name']} environment:", "", *lines]))
    return found


def _release(version: str) -> str:
    return version.partition("+")[0]


def _answer(fault: str | None) -> str:
    if fault is None:
        return "not tried"
    return "not installed" if fault.startswith("missing: ") else "fails" if fault else "works"


def _counts(row: Row, *kinds: str) -> str:
    if not (suite := row.get("suite")):
        return "not run"
    count = sum(suite["counts"].get(kind, 0) for kind in kinds)
    return f"{count:,}" + ("" if suite["whole"] else " until the time was over")


def _short(test: str) -> str:
    return test.removeprefix("tests/")


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
