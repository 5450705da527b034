"""Runs a command, and answers by its exit status.

Whatever goes wrong, in isoinit or in the code of a target, ends with one line on standard error and
the status 2: 1 is the answer of a command that looked and found something.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import typer

from isoinit.cli.commands import app
from isoinit.cli.encoding import spell_out
from isoinit.cli.failures import line_of, text_of

COMPLETING = "_ISOINIT_COMPLETE"  # the name that click makes of the program's
WRONG, INTERRUPTED, PIPE_CLOSED = 2, 130, 141  # the last two as shells report their signals


def main() -> None:
    """Run the command line, and exit.

    The status is 0 or 1 by the command's result, 2 for errors and 130 after Ctrl-C. It is 141 if the
    program that reads the output has ended, as `head` does.
    """
    spell_out()
    sys.exit(_status(sys.argv[1:]))


def _status(arguments: Sequence[str]) -> int:
    """Return the exit status of a command."""
    try:
        return _answer(arguments)
    except (KeyboardInterrupt, typer.Abort) as stop:
        return _ended(text_of(stop) or "interrupted", INTERRUPTED)
    except BaseException as error:  # also SystemExit, by which code of the user's may end
        if os.environ.get("ISOINIT_TRACEBACK"):
            traceback.print_exception(error)
        _drain()
        if any(isinstance(each, BrokenPipeError) for each in (error, error.__context__)):
            return PIPE_CLOSED  # rich turns it into SystemExit
        return _ended(_misuse(error) or line_of(error), WRONG)


def _answer(arguments: Sequence[str]) -> int:
    """Run a command to its end, output and all.

    Not by calling the app, which answers errors in its own way: with boxes, and with the status 1.
    """
    command = typer.main.get_command(app)
    if COMPLETING in os.environ:  # a shell asks for names
        return _completed(command)
    try:
        with _context(command, arguments) as context:
            command.invoke(context)
        status = 0
    except typer.Exit as ended:
        status = ended.exit_code
    if sys.stdout is not None:  # as it is where it was closed
        sys.stdout.flush()
    return status


def _context(command: Any, arguments: Sequence[str]) -> Any:
    """Return a command with its arguments, which runs no code of the user's."""
    try:
        return command.make_context("isoinit", list(arguments) or ["--help"])
    except SystemExit as ended:  # typer's --show-completion and --install-completion end so
        if ended.__context__ is not None:
            raise
        raise typer.Exit(int(ended.code or 0)) from None


def _completed(command: Callable[..., object]) -> int:
    """Answer a shell that asks how an argument may go on, as typer's scripts for shells expect."""
    try:
        command(prog_name="isoinit")
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _ended(line: str, status: int) -> int:
    if sys.stderr is not None:
        print(f"isoinit: {line}", file=sys.stderr)
    return status


def _misuse(error: BaseException) -> str:
    """Return what is wrong with the arguments, if that is the error; else ""."""
    said = getattr(
        error, "format_message", None
    )  # of click's errors, which typer has its own copy of
    if said is None:
        return ""
    command = getattr(getattr(error, "ctx", None), "command_path", "isoinit")
    text = " ".join(said().split()).rstrip(".")
    return f"{text}{'' if text.endswith('?') else '.'} See {command} --help."


def _drain() -> None:
    """Empty standard output; into nowhere, if it takes no more: Python tries again at its end."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
