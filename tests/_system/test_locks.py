"""One process at a time writes to a folder; the lock ends with the process, and leaves no file."""

import errno
import os
import subprocess
import sys

import pytest

from isoinit._system import locks
from isoinit._system.locks import LOCK, locked
from isoinit.errors import ArgumentError

HOLD = """
import sys
from pathlib import Path
from isoinit._system.locks import locked
with locked(Path(sys.argv[1])) as held:
    print(held, flush=True)
    sys.stdin.readline()
"""

TURNS = """
import sys
from pathlib import Path
from isoinit._system.locks import locked
folder, alone, turns = Path(sys.argv[1]), Path(sys.argv[2]), 0
print(flush=True)
sys.stdin.readline()
while turns < 300:
    with locked(folder) as held:
        if held:
            alone.touch(exist_ok=False)  # fails if another process holds the lock, too
            alone.unlink()
            turns += 1
"""


def started(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_another_process_is_kept_out_until_the_first_is_done(tmp_path):
    with started(HOLD, tmp_path) as other:
        assert other.stdout.readline() == "True\n"
        with locked(tmp_path) as held:
            assert not held
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
        other.communicate("\n")
    with locked(tmp_path) as held:
        assert held
        with locked(tmp_path) as again:
            assert not again
    assert not list(tmp_path.iterdir())


def test_a_killed_process_lets_go(tmp_path):
    with started(HOLD, tmp_path) as other:
        assert other.stdout.readline() == "True\n"
        other.kill()
    with locked(tmp_path) as held:
        assert held
    assert not list(tmp_path.iterdir())


def test_never_two_at_once(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    others = [started(TURNS, folder, tmp_path / "alone") for _ in range(3)]
    for other in others:
        other.stdout.readline()
    for other in others:
        other.stdin.write("\n")
        other.stdin.flush()
    for other in others:
        other.communicate()
    assert [other.returncode for other in others] == [0, 0, 0]
    assert not list(folder.iterdir())


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(tmp_path, monkeypatch):
    """Another process opened the file, and then the one that held it removed it and let go."""

    def late(handle, *, blocking):
        (tmp_path / LOCK).unlink()
        return True

    monkeypatch.setattr(locks, "lock_descriptor", late)
    with locked(tmp_path) as held:
        assert not held


def test_where_nothing_can_be_locked_the_work_is_done_without(tmp_path, monkeypatch):
    def unsupported(handle, *, blocking):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def read_only(path, *_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(locks, "lock_descriptor", unsupported)
        with locked(tmp_path) as held:
            assert held
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        with locked(tmp_path) as held:
            assert held


def test_an_error_in_the_block_lets_go(tmp_path):
    with pytest.raises(ValueError, match="in the block"), locked(tmp_path):
        raise ValueError("in the block")
    assert not list(tmp_path.iterdir())
    with locked(tmp_path) as held:
        assert held


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pipes with names")
def test_what_stands_where_the_lock_would_be(tmp_path):
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    for make in (
        lambda path: path.symlink_to(outside),
        os.mkfifo,
        lambda path: path.mkdir(),
    ):
        path = folder / LOCK
        make(path)
        with pytest.raises(ArgumentError, match="isoinit needs a lock file"), locked(folder):
            raise AssertionError
        assert not outside.exists()
        path.rmdir() if path.is_dir() else path.unlink()
