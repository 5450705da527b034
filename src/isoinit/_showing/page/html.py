"""Puts facts into the page: one file with its own scripts, styles and data, and no way out."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import os
import string
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from isoinit._showing.page.facts import Page
from isoinit._system.files import whole
from isoinit.errors import ArgumentError, escaped

HERE = Path(__file__).parent
HEIGHT = 640  # of a notebook's frame, in pixels
PARTS = "base head scale chart histogram table figure main".split()  # of the script, in order
DIGITS = 4  # of a number; the file is smaller by half, and no eye sees more
# In a script element these would end it or begin another, whatever stands around them.
ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
QUOTED = {ord(c): f"&#{ord(c)};" for c in "&<>'"}  # in an attribute between single quotes


def render(page: Page) -> str:
    """The whole file.

    Names from a model are data in it, and get into the page as text: none is ever read as HTML. The
    policy in its head lets run what stands in the file and forbids everything that is elsewhere.
    """
    styles = _read("vendor/uPlot.min.css") + _read("page.css")
    scripts = [_read("vendor/uPlot.iife.min.js"), _script()]
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {_hash(styles)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    return string.Template(_read("page.html")).substitute(
        title=html.escape(escaped(page.title)),
        policy=html.escape(policy, quote=True),
        licence=_read("vendor/uPlot.LICENSE"),
        styles=styles,
        data=_json(page),
        library=scripts[0],
        script=scripts[1],
    )


def framed(text: str) -> str:
    """A page in a frame of its own: its styles, names and policy stay inside.

    The frame's text stands between single quotes: the page's data is full of double ones, which
    would each take six characters in the notebook's file.
    """
    return (
        f'<iframe sandbox="allow-scripts" title="isoinit" width="100%" height="{HEIGHT}" '
        f'loading="lazy" style="border:0" srcdoc=\'{text.translate(QUOTED)}\'></iframe>'
    )


def save(page: Page, path: str | os.PathLike[str]) -> Path:
    """Write a page to a file.

    Returns:
        The path.

    Raises:
        ArgumentError: if the path's folder does not exist, or the path is a folder.
    """
    return write(render(page), path)


def write(text: str, path: str | os.PathLike[str]) -> Path:
    """Write the text of a page whole, or not at all; raises as `save` does."""
    target = refuse_place(path)
    with whole(target) as file:
        file.write(text.encode())
    return target


def refuse_place(path: str | os.PathLike[str]) -> Path:
    """Where a page may be written; raises as `save` does where it may not."""
    target = Path(path)
    if not target.parent.is_dir():
        raise ArgumentError(f"{target}: there is no folder {target.parent}. Create it first")
    if target.is_dir():
        raise ArgumentError(f"{target} is a folder; expected the name of a file, such as page.html")
    return target


def _json(page: Page) -> str:
    data = json.dumps(_short(page), allow_nan=False, separators=(",", ":"))
    return data.translate(ESCAPED)


def _short(data: Any) -> Any:
    """Facts for JSON: numbers to a few digits, those that are not finite as their names.

    Text is for the reader alone, so that a name that is in two places is escaped in both.
    """
    if is_dataclass(data):
        return {field.name: _short(getattr(data, field.name)) for field in fields(data)}
    if isinstance(data, (list, tuple)):
        return [_short(item) for item in data]
    if isinstance(data, float):
        return float(f"{data:.{DIGITS}g}") if math.isfinite(data) else str(data)
    return escaped(data) if isinstance(data, str) else data


def _hash(text: str) -> str:
    """What a policy calls an element by that holds this text (CSP level 2)."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _script() -> str:
    """The page's own script: its parts in one scope."""
    parts = "\n".join(_read(f"parts/{name}.js") for name in PARTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


@cache
def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
