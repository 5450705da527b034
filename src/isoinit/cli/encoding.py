"""Output where the encoding has no such character, as on a Windows console, or where LC_ALL is C."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

from isoinit._showing.sparkline import BARS

ERRORS = "isoinit.spelled"
"""The name by which Python's codecs find `_spelled_out`."""

_BARS = {bar: str(height) for height, bar in enumerate(BARS, 1)}
_SPELLED = {
    "→": "->", "←": "<-", "−": "-", "–": "-", "—": "-", "─": "-", "│": "|", "×": "x", "·": ".",
    "±": "+-", "√": "sqrt", "≤": "<=", "≥": ">=", "≈": "~", "≠": "!=", "∞": "inf", "∈": "in",
    "‘": "'", "’": "'", "“": '"', "”": '"', **_BARS,
}  # fmt: skip
_RAISED = {"<super>": "^", "<sub>": "_"}


def spell_out() -> None:
    """Have standard output and errors spell out what their encoding lacks, and never fail by it.

    Python raises an error by default: a command would end in the middle of its table.
    """
    codecs.register_error(ERRORS, _spelled_out)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def spelled(character: str) -> str:
    """Return a character in ASCII: "?" for one that has no such spelling.

    Example:
        >>> "".join(map(spelled, "φ(z) → 2σ² ± √π")), spelled("語")
        ('phi(z) -> 2sigma^2 +- sqrtpi', '?')
    """
    if character.isascii():
        return character
    if character in _SPELLED:
        return _SPELLED[character]
    tag, _, _ = unicodedata.decomposition(character).partition(" ")
    plain = unicodedata.normalize("NFKD", character)
    if plain != character:
        parts = (spelled(part) for part in plain if not unicodedata.combining(part))
        return _RAISED.get(tag, "") + "".join(parts)
    name = unicodedata.name(character, "")
    return name.rpartition(" ")[2].lower() if name.startswith("GREEK") else "?"


def _spelled_out(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(spelled, error.object[error.start : error.end])), error.end
