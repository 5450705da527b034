"""What a folder tells of its checkpoint beside the tensors: its record, its plan, and its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isoinit._drawing.streams.philox import DEFINITION
from isoinit._planning.plan import Plan
from isoinit._showing.findings import Finding
from isoinit._system.files import FILE, kind_of, open_regular, read_text
from isoinit._writing.seeds import resolve_seed
from isoinit.checkpoint import record as records
from isoinit.checkpoint.folder import CHECKPOINTS
from isoinit.checkpoint.read import DAMAGE, Found, partial_files
from isoinit.checkpoint.shards import READ_FIRST
from isoinit.errors import ArgumentError, PlanError

AGAIN = "write the checkpoint again with the same arguments: this adds what is missing"


@dataclass
class Told:
    """What decides the bits of a checkpoint, as far as its folder or the caller tells it.

    Attributes:
        record: what `isoinit.json` holds; None if it is not there or not whole.
        plan: the caller's, or the stored one; None if that is not whole.
        seed: the caller's, or the stored one; None if nothing tells it.
        own: whether the plan is the stored one.
        findings: what is wrong with the record and the stored plan.
    """

    record: dict[str, Any] | None = None
    plan: Plan | None = None
    seed: int | None = None
    own: bool = False
    findings: list[Finding] = field(default_factory=list)


def read_told(folder: Path, plan: Plan | None, seed: int | None) -> Told:
    """Read the record and the plan of a folder.

    Args:
        folder: the folder.
        plan: what is taken instead of the stored one.
        seed: what is taken instead of the stored one.

    Raises:
        ArgumentError: if plan or seed are neither given nor there.
    """
    told = Told(plan=plan, own=plan is None)
    try:
        told.record = records.load_record(folder)
    except PlanError as error:
        told.findings.append(_broken(records.NAME, error))
    if plan is None:
        told.plan = _stored_plan(folder, told)
    if seed is not None:
        told.seed = resolve_seed(seed)
    elif told.record is not None:
        told.seed = told.record["seed"]
    elif not told.findings:
        raise ArgumentError(f"{folder} holds no {records.NAME}. Pass the seed")
    elif told.own and told.plan is not None:
        told.seed = told.plan.seed
    return told


def _stored_plan(folder: Path, told: Told) -> Plan | None:
    try:
        return Plan.from_json(read_text(folder / records.PLAN, links=False))
    except FileNotFoundError:
        heal = "" if told.record is None else ", or write the checkpoint again"
        raise ArgumentError(f"{folder} holds no {records.PLAN}. Pass the plan{heal}") from None
    except DAMAGE as error:  # among them PlanError
        told.findings.append(_broken(records.PLAN, error))
        return None


def _broken(name: str, error: Exception) -> Finding:
    advice = (
        "write the checkpoint again with the same arguments, or pass the plan"
        if name == records.PLAN
        else "copy it again from the original checkpoint, or write to another folder"
    )
    return finding("broken file", name, f"{name} cannot be read ({error})", advice)


def about_plan(told: Told) -> Iterator[Finding]:
    """What the stored plan gives otherwise than the record says, and what no plan draws any more."""
    if told.record is None or told.plan is None:
        return
    advice = "pass the plan that the checkpoint was written with"
    if told.own and told.plan.seed not in (None, told.record["seed"]):
        said = (
            f"{records.PLAN} has seed {told.plan.seed}, but {records.NAME} has "
            f"{told.record['seed']}"
        )
        yield finding("wrong plan", records.PLAN, said, advice)
    drawn = {e.name: e for e in told.plan if e.initializer is not None}
    for name, facts in told.record["tensors"].items():
        if "plan" not in facts:
            continue
        if name not in drawn:
            yield finding("wrong plan", name, f"the plan draws no {name!r:.200}", advice)
        elif told.own and records.plan_hash(drawn[name]) != facts["plan"]:
            said = f"{records.PLAN} and {records.NAME} have different values for {name!r:.200}"
            yield finding("wrong plan", name, said, advice)


def about_files(folder: Path, told: Told, found: Found) -> Iterator[Finding]:
    """What is wrong with the files of a folder: cut off, missing, changed, left over, not ours."""
    for name, why in found.faults.items():
        yield finding("broken file", name, f"{name} {why}", "remove it, and " + AGAIN)
    for name in partial_files(folder):
        yield finding("unfinished write", name, f"{name} was left by an interrupted write", AGAIN)
    if told.record is None:
        return
    for name, size in told.record["files"].items():
        if name in found.faults:
            continue
        if (why := _difference(folder / name, size, told.record)) == "is missing":
            yield finding("unfinished write", name, f"{name} is missing", AGAIN)
        elif why:
            yield finding("broken file", name, f"{name} {why}", "remove it, and " + AGAIN)
    names = [path.name for pattern in CHECKPOINTS for path in sorted(folder.glob(pattern))]
    for name in dict.fromkeys(names):
        if name not in told.record["files"]:
            severity = "error" if name in READ_FIRST or name in found.files else "warning"
            said = f"{name} was not written by isoinit"
            advice = "remove it, because a program may load it as the checkpoint"
            yield finding("unexpected file", name, said, advice, severity)
    if told.record["definition"] != DEFINITION:
        was = told.record["definition"]
        said = (
            f"the checkpoint has random numbers of definition {was}, but this isoinit has "
            f"definition {DEFINITION}"
        )
        yield finding("other numbers", records.NAME, said, "use the isoinit that wrote it")


def _difference(path: Path, size: int, record: Mapping[str, Any]) -> str:
    """What is wrong with a file of the record, in words; "" if nothing is.

    Args:
        path: the file.
        size: its bytes, as recorded.
        record: which has the hashes of texts and of headers.
    """
    text, header = record["texts"].get(path.name), record["headers"].get(path.name)
    try:
        if (kind := kind_of(path)) != FILE:
            return f"is {kind}, expected a file" if kind else "is missing"
        if (found := path.lstat().st_size) != size:
            return f"has {found} bytes, expected {size}"
        if text is not None:
            with open_regular(path, links=False) as file:
                return "" if records.text_hash(file.read(size)) == text else "has a different text"
        if header is not None:
            with open_regular(path, links=False) as file:
                if records.header_facts(file.read(header[0])) != header:
                    return "has a different header"
    except DAMAGE as error:
        return f"cannot be read ({error})"
    return ""


def finding(
    name: str,
    where: str,
    said: str,
    advice: str,
    severity: str = "error",
    *,
    value: float = float("nan"),
    limit: float = float("nan"),
) -> Finding:
    """Return a finding."""
    source = "a checkpoint is what its plan draws, or something else"
    return Finding(name, severity, (where,), value, limit, source, advice, said)
