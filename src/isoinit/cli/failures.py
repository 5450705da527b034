"""How errors end a command: what is said of them, in one line."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

from isoinit.errors import IsoinitError, did_you_mean, escaped

LONGEST = 1000  # characters of what somebody else's error says
_OTHERS = tuple(
    f"{path}{os.sep}"
    for path in (
        Path(__file__).parents[1],
        *{*map(sysconfig.get_path, ("stdlib", "purelib", "platlib"))},
    )
)  # where Python, packages and isoinit are: code from elsewhere is the user's


def text_of(error: BaseException) -> str:
    """Return what an error says, in one line: "" if it says nothing."""
    try:
        said = " ".join(str(error).split())
    except Exception as failure:  # the class is the user's, too
        said = f"its message cannot be shown: {type(failure).__name__}"
    return escaped(said)


def told(error: BaseException) -> str:
    """Return an error in one line: its type, what it says, and the line of the user's code."""
    if isinstance(error, SystemExit):  # whose code is a status or a text
        said = f"the code called sys.exit({text_of(error) or None})"
    elif isinstance(error, OSError) and error.filename is not None and error.strerror:
        said = f"{os.fsdecode(error.filename)}: {error.strerror}"
    else:
        text = text_of(error)
        text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
        said = ": ".join(filter(None, (type(error).__name__, text)))
    if isinstance(error, SyntaxError):  # it names the line; the frames end at the one that imported
        return said
    return f"{said}{_place(error)}"


def line_of(error: BaseException) -> str:
    """Return the line that ends a command: isoinit's own errors say all of it themselves."""
    if isinstance(error, IsoinitError):
        return text_of(error)
    return f"{told(error)}. Set ISOINIT_TRACEBACK=1 to see the traceback."


def near_file(path: Path) -> str:
    """Return a question about a file that is not there: which of its folder was meant."""
    folder = path.parent
    return did_you_mean(path.name, (p.name for p in folder.iterdir()) if folder.is_dir() else ())


def _place(error: BaseException) -> str:
    """Return the last line of the user's code that an error went through; "" if none is known."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith((*_OTHERS, "<"))]
    return f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""
