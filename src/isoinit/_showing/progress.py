"""Bars on standard error while something takes its time; none where no terminal or notebook is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from isoinit.errors import escaped


@contextmanager
def bytes_shown(doing: str, *, visible: bool) -> Iterator[Callable[[int, int], None] | None]:
    """What may be called with bytes done and in all, to show them with speed and time left.

    Args:
        doing: what is being done, such as "writing".
        visible: whether to show anything.
    """
    from rich.progress import DownloadColumn, TransferSpeedColumn

    with _bar((DownloadColumn(), TransferSpeedColumn()), visible=visible) as bar:
        if bar is None:
            yield None
            return
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def steps_shown(total: int, *, visible: bool) -> Iterator[Callable[[str, int], None]]:
    """What is called with what is being done, and how many steps more are done.

    Args:
        total: how many steps there are.
        visible: whether to show anything.
    """
    from rich.progress import MofNCompleteColumn, TextColumn

    columns = (TextColumn("{task.description}", markup=False), MofNCompleteColumn())
    with _bar(columns, visible=visible) as bar:
        if bar is None:
            yield lambda _doing, _steps: None
            return
        task = bar.add_task("", total=total)
        yield lambda doing, steps: bar.update(task, description=escaped(doing), advance=steps)


@contextmanager
def _bar(columns: tuple[Any, ...], *, visible: bool) -> Iterator[Any]:
    """A bar that is gone at the end, with the time left; None where it cannot be seen."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    if not visible or not (console.is_terminal or console.is_jupyter):
        yield None
        return
    first, *rest = columns
    with Progress(
        first, BarColumn(), *rest, TimeRemainingColumn(), console=console, transient=True
    ) as bar:
        yield bar
