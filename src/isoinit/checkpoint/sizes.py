"""Sizes in bytes, as people write them."""

from __future__ import annotations

import re

from isoinit.errors import ArgumentError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def parse_size(size: int | str) -> int:
    """A size as bytes: an int, or text such as "5GB" (10**9) or "1GiB" (2**30).

    Raises:
        ArgumentError: if it is neither, or below 1.

    Example:
        >>> parse_size("1.5GB"), parse_size("1 GiB"), parse_size(7)
        (1500000000, 1073741824, 7)
    """
    found = None
    if isinstance(size, int) and not isinstance(size, bool):
        found = size
    elif isinstance(size, str) and (
        match := re.fullmatch(r"(\d+\.?\d*) ?([KMGT]?I?)B", size.upper())
    ):
        unit = {**_UNITS, **_BINARY}.get(match[2])
        found = None if unit is None else int(float(match[1]) * unit)
    if found is None or found < 1:
        raise ArgumentError(
            f"max_shard_size={size!r}: expected a number of bytes, an integer above 0, or text "
            'such as "5GB", "200MB" or "1GiB"'
        )
    return found


def show_size(size: int) -> str:
    """A number of bytes for people.

    Example:
        >>> show_size(1_530_000_000), show_size(12)
        ('1.53 GB', '12 B')
    """
    for unit, prefix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if size >= unit:
            return f"{size / unit:.3g} {prefix}B"
    return f"{size} B"
