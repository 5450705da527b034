"""What a claim is, what comes of running it, and how both look."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"


@dataclass(frozen=True)
class Found:
    """One thing that was measured.

    Attributes:
        what: what was measured, in words.
        expected: what the claim says it should be, in words or numbers.
        found: what it is.
        holds: whether the claim holds here.
    """

    what: str
    expected: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Claim:
    """A claim, and how it is tried.

    Attributes:
        name: that of its script, and of its pictures.
        title: a heading.
        claim: one sentence.
        paper: who claims it.
        setting: the networks, the data and the numbers, in words.
        run: tries it: what was found, and what else there is to say of it, such as the likely
            reason why a part does not hold.
    """

    name: str
    title: str
    claim: str
    paper: str
    setting: str
    run: Callable[[], tuple[list[Found], str]]


def markdown(claim: Claim, found: Sequence[Found], remark: str, seconds: float) -> str:
    """A claim and what came of it, as a section of a page."""
    rows = [
        f"| {f.what} | {f.expected} | {f.found} | {'holds' if f.holds else '**does not hold**'} |"
        for f in found
    ]
    pictures = [
        f"![{claim.title}](pictures/{path.name})"
        for path in sorted(PICTURES.glob(f"{claim.name}*.svg"))
    ]
    parts = [
        f"## {claim.title}",
        f"{claim.claim} ({claim.paper})",
        f"*Setting.* {claim.setting} {seconds:.0f} s; `python -m evidence.claims.{claim.name}`.",
        "| measured | expected | found | |\n|---|---|---|---|\n" + "\n".join(rows),
        *([remark] if remark else []),
        *pictures,
    ]
    return "\n\n".join(parts) + "\n"


def save(figure: Figure, name: str) -> Path:
    """Write a picture for the documentation; the same numbers give the same bytes."""
    import matplotlib as mpl

    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"{name}.svg"
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(path, metadata={"Date": None})
    return path


def settle() -> None:
    """Use one thread, and round vanished numbers to zero.

    Small networks gain nothing from a second thread, and processors handle denormal numbers a hundred
    times slower.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def run(name: str) -> tuple[str, str, bool]:
    """Try a claim by its name: that, its section of the page, and whether all of it holds."""
    settle()
    claim: Claim = importlib.import_module(f"evidence.claims.{name}").CLAIM
    begin = time.perf_counter()
    found, remark = claim.run()
    section = markdown(claim, found, remark, time.perf_counter() - begin)
    return name, section, all(f.holds for f in found)


def main(claim: Claim) -> None:
    """Try one claim, and print what came of it."""
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(run(claim.name)[1]))
