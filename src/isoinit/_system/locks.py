"""One process at a time writes to a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import lock_descriptor

from isoinit._system.files import FILE, kind_of
from isoinit.errors import ArgumentError

LOCK = ".isoinit.lock"
"""The file that is locked: in the folder while a process writes to it, or after one was killed."""


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Keep other processes from writing to a folder; gives whether they are kept.

    It does not wait for another one. The system lets go of the lock when a process ends, in whatever
    way. Where nothing can be locked, the block runs without.

    Raises:
        ArgumentError: if a symbolic link, a pipe or the like has the name of the lock's file: what it
            leads to is neither made nor locked.
    """
    path = folder / LOCK
    try:
        handle = _opened(path)
    except OSError:  # nor will anything else be written here
        yield True
        return
    held = False
    try:
        held = _locked(handle)
        yield held
    finally:
        # Removed while it is locked: whoever has opened it by then finds that it has no name any more.
        removed = not held or _removed(path)  # Windows removes no open file
        os.close(handle)
        if not removed:
            _removed(path)  # not if another process has opened it


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _opened(path: Path) -> int:
    kind = kind_of(path)
    if kind in ("", FILE):
        careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:  # NFS locks nothing that is only read
            return os.open(path, os.O_RDWR | os.O_CREAT | careful, 0o666)
        except PermissionError:
            return os.open(path, os.O_RDONLY | careful)  # another user's
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            kind = "a symbolic link"
    raise ArgumentError(
        f"nothing was written: {path} is {kind}, but isoinit needs a lock file there. Remove it"
    )


def _locked(handle: int) -> bool:
    try:
        return lock_descriptor(handle, blocking=False) and os.fstat(handle).st_nlink > 0
    except OSError:  # a file system without locks
        return True
