"""Writes the pages of evidence, each with the day, the commit and the machine of its run."""

from __future__ import annotations

from pathlib import Path

from benchmarks.machine import commit, machine, packages, today

DOCS = Path(__file__).parents[1] / "docs"


def ran() -> str:
    """Return one line of Markdown that says when, on what and of which commit a run was."""
    return f"*Run: {today()}, commit {commit()}, {machine()}; {packages()}.*"


def write(page: Path, text: str) -> None:
    """Write a page, and below its title what ran.

    Raises:
        ValueError: if the text does not begin with a title.
    """
    title, _, rest = text.partition("\n")
    if not title.startswith("# "):
        raise ValueError(f"{page.name} begins with {title!r}: a title, '# …', is needed")
    page.write_text(f"{title}\n\n{ran()}\n\n{rest.strip()}\n", encoding="utf-8")


def place(page: Path, name: str, section: str) -> None:
    """Put a section into a page, between the marks of its name, and below it what ran.

    Raises:
        ValueError: if the page has no such marks.
    """
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    if begin not in text or end not in text:
        raise ValueError(f"{page.name} has no place for {name}: {begin.strip()} and {end}")
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    page.write_text(f"{before}{begin}{section.rstrip()}\n\n{ran()}\n{end}{after}", encoding="utf-8")
