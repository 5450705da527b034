"""Files that are whole or not there, also after a power cut."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.partial", re.DOTALL)


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which gets its name when it is on the disk.

    Until then it has a name of its own beside that one, so that processes that write the same file at
    once do not meet: the last to finish wins. Nothing is left if the block fails.
    """
    partial = path.with_name(f".{path.name}.{os.urandom(8).hex()}.partial")
    # Opened and not made by `tempfile`, so that the file gets the permissions of any other.
    file = partial.open("xb")
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def remove_partials(folder: Path, names: Collection[str]) -> None:
    """Remove what killed processes left of some files; no other may be writing these now."""
    for path in folder.glob(".*.partial"):
        ours = _PARTIAL.fullmatch(path.name)
        if ours and ours["name"] in names:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder onto the disk."""
    with suppress(PermissionError):  # Windows opens no folders, and needs none to be
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
