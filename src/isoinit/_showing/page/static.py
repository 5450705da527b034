"""A few facts as a table without a script, for a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable

from isoinit.errors import escaped

LEFT = 'style="text-align:left;vertical-align:top"'


def definitions(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return names and values as an HTML table; rows without a value are left out.

    Example:
        >>> print(definitions("a.<b>", [("std", "0.5"), ("source", "")]))
        <table><caption style="text-align:left;vertical-align:top"><b>a.&lt;b&gt;</b></caption>
        <tr><th style="text-align:left;vertical-align:top">std</th><td ...>0.5</td></tr></table>
    """
    lines = [
        f"<tr><th {LEFT}>{_text(name)}</th><td {LEFT}>{_text(value)}</td></tr>"
        for name, value in rows
        if value
    ]
    head = f"<table><caption {LEFT}><b>{_text(title)}</b></caption>"
    return "\n".join([head, *lines]) + "</table>"


def _text(text: str) -> str:
    return html.escape(escaped(text))
