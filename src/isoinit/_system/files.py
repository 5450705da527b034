"""Files that are whole or not there, also after a power cut; and files of others, read with care."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from io import BufferedReader
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FILE = "a file"
_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.partial", re.DOTALL)
_OPEN = re.compile(r"/dev/fd|/proc/(self|\d+)(/task/\d+)?/fd")  # the folders of open files
_WAITS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.3, None)  # seconds between attempts
_NO_SYNC = (errno.EBADF, errno.EINVAL)  # as PostgreSQL has them, in fsync_fname (file_utils.c)
_NOT_ON_WINDOWS = re.compile(
    r"""[<>:"|?*]|[. ]$|^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])[ ]*(\.|$)""",
    re.IGNORECASE,
)
_LINKS = 40  # in a row, which is as many as Linux follows
_LONG = 100  # bytes


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which gets its name when it is on the disk.

    Until then it has a name of its own beside that one, so that processes that write the same file at
    once do not meet: the last to finish wins. Nothing is left if the block fails. An existing file
    keeps its permissions; of a link the file is replaced that it leads to. What is no file, such as a
    pipe or /dev/stdout, is written to: a rename would put a file in its place.

    Raises:
        OSError: naming the path, if it is a folder or cannot be written; also where another program
            has it open and the system then replaces no file (Windows).
    """
    before = _status(path)
    if _is_open(path) or not (before is None or stat.S_ISREG(before.st_mode)):
        with path.open("wb") as file:  # which says so if it is a folder
            yield file
        return
    if before is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    end = Path(os.path.realpath(path))
    partial = end.with_name(f".{_stem(end.name)}.{os.urandom(8).hex()}.partial")
    try:
        # Opened and not made by `tempfile`, so that the file gets the permissions of any other.
        file = partial.open("xb")
    except OSError as error:
        error.filename = str(path)  # nobody asked for the other one
        raise
    try:
        with file:
            if before is not None:
                partial.chmod(stat.S_IMODE(before.st_mode))
            yield file
            file.flush()
            _sync(file.fileno())
        _replace(partial, end, path)
        sync_folder(end.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _sync(handle: int) -> None:
    """Bring what was written to a file onto the disk.

    On macOS fsync leaves it in the disk's own memory, which a power cut empties: F_FULLFSYNC does not,
    on file systems that know it. Source: man 2 fsync of macOS; `fullFsync` in SQLite's os_unix.c.
    """
    if fcntl is not None and hasattr(fcntl, "F_FULLFSYNC"):
        with suppress(OSError):
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
            return
    os.fsync(handle)


def _replace(partial: Path, end: Path, path: Path) -> None:
    """Give a file its name, in the place of what has it.

    Windows replaces no file that a program has open. Most have it open for moments, such as another
    process that reads it and virus scanners.
    """
    for wait in _WAITS:
        try:
            partial.replace(end)
        except PermissionError as error:
            if wait is None:
                said = f"{error.strerror}: is it open in another program? Close it and try again"
                raise PermissionError(error.errno, said, str(path)) from error
            time.sleep(wait)
        else:
            return


def _status(path: Path) -> os.stat_result | None:
    """Return what the system knows of the file that a path leads to; None if there is none."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _is_open(path: Path) -> bool:
    """Return whether a path names an open file by its number, as /dev/stdout and /dev/fd/63 do.

    If that is a file on the disk, its owner holds it open: he would not see the one that replaces it.
    """
    for _ in range(_LINKS):
        if _OPEN.fullmatch(os.path.realpath(path.parent)):
            return True
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return False


def _stem(name: str) -> str:
    """Return what a partial's name holds of a file's name: a hash of a long one.

    With all of it a partial's name may be longer than file systems take: 255 bytes on most, and 143
    where names are encrypted (eCryptfs).
    """
    written = os.fsencode(name)
    return name if len(written) <= _LONG else blake2b(written, digest_size=16).hexdigest()


def remove_partials(folder: Path, names: Collection[str]) -> None:
    """Remove what killed processes left of some files; no other may be writing these now."""
    stems = set(map(_stem, names))
    for path in folder.glob(".*.partial"):
        ours = _PARTIAL.fullmatch(path.name)
        if ours and ours["name"] in stems and kind_of(path) == FILE:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder onto the disk."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders, and needs none to be
        return
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems bring no folders onto the disk
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(handle)


def kind_of(path: Path) -> str:
    """Return what has a name, in words; a link is one wherever it leads, and "" is nothing.

    Raises:
        OSError: if the system does not say.
        ValueError: if no file can have that name.
    """
    try:
        return _kind(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return ""


def open_regular(path: Path, *, links: bool) -> BufferedReader:
    """Open a file to read, and nothing else: no pipe or device is waited for.

    Args:
        path: the file.
        links: whether a symbolic link in its place is followed. Where the system knows no
            `O_NOFOLLOW` (Windows), one that is put there at this very moment is.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is no regular file.
    """
    # Checked before opening, because opening has an effect on some devices. Checked again when it is
    # open, because the name may then belong to another file.
    _require_regular(path.stat() if links else path.lstat())
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and not links:
            raise ValueError("it is a symbolic link, expected a file") from None
        raise
    try:
        _require_regular(os.fstat(handle))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_text(path: Path, *, links: bool, most: int = 2**30) -> str:
    """Return the text of a file in UTF-8.

    Args:
        path: the file.
        links: whether a symbolic link is followed.
        most: bytes that it may have.

    Raises:
        OSError: if it cannot be opened or read.
        ValueError: if it is no regular file, not UTF-8, or larger.
    """
    with open_regular(path, links=links) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most} bytes")
    return data.decode("utf-8")


def is_plain_name(name: object) -> bool:
    """Return whether it names a file in a folder, on any system: no way out, no folder before it.

    Nor what Windows takes for something else: a device, a second stream of a file, a pattern, or a
    name without the dots and spaces at its end. Source: "Naming Files, Paths, and Namespaces",
    Microsoft.

    Example:
        >>> [is_plain_name(name) for name in ("model.safetensors", "../model", "C:model", "..", "")]
        [True, False, False, False, False]
        >>> [is_plain_name(name) for name in ("NUL", "con.json", "model.bin:more", "model.bin.")]
        [False, False, False, False]
    """
    return (
        isinstance(name, str)
        and name.isprintable()
        and name not in ("", ".", "..")
        and PurePosixPath(name).name == PureWindowsPath(name).name == name
        and not _NOT_ON_WINDOWS.search(name)
    )


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "something else")


def _require_regular(found: os.stat_result) -> None:
    if (kind := _kind(found.st_mode)) != FILE:
        raise ValueError(f"it is {kind}, expected a file")
