"""A file is whole or not there, whoever else writes it; what a killed process left is known."""

import contextlib
import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from torch import nn

import isoinit
from isoinit._system.files import (
    is_plain_name,
    kind_of,
    open_regular,
    read_text,
    remove_partials,
    whole,
)

SAVE = """
import sys, isoinit
path, mine, *others = sys.argv[1:]
plan, known = isoinit.Plan.load(mine), {isoinit.Plan.load(p).digest for p in (mine, *others)}
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    plan.save(path)
    assert isoinit.Plan.load(path).digest in known
"""


def test_eight_processes_save_to_one_path_and_read_whole_plans(tmp_path):
    """Each saves one of two plans, so that a mixture would be seen; none needs a framework."""
    model = nn.Sequential(*[nn.Linear(8, 8) for _ in range(9)])
    for name, method in (("a", "he"), ("b", "orthogonal")):
        isoinit.plan(model, method=method).save(tmp_path / name)
    place, *both = (str(tmp_path / name) for name in ("plan.json", "a", "b"))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", SAVE, place]
    processes = [
        subprocess.Popen([*command, both[rank % 2], *both], text=True, **pipes) for rank in range(8)
    ]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=60) for process in processes]
    assert [error for _, error in ends] == [""] * 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "plan.json"]


posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are of another kind")


def write(path, data=b"new"):
    with whole(path) as file:
        file.write(data)


@posix
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"old")
    for name, target in (("link", "folder/file"), ("far", "link"), ("to_nothing", "folder/none")):
        (tmp_path / name).symlink_to(target)
        write(tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / target).read_bytes() == b"new"
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == ["file", "none"]


@posix
def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(pipe)
    reader.join(10)
    assert read == [b"new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="open files have no names here")
@pytest.mark.parametrize("folder", ["/dev/fd", "link"])
def test_an_open_file_is_written_to_and_not_replaced(tmp_path, folder):
    with (tmp_path / "out").open("w+b") as file:
        path = f"/dev/fd/{file.fileno()}"
        if folder == "link":  # as /dev/stdout is one
            (tmp_path / "link").symlink_to(path)
            path = tmp_path / "link"
        write(type(tmp_path)(path))
        assert file.read() == b"new"
    assert "out" in [p.name for p in tmp_path.iterdir() if not p.is_symlink()]


@posix
def test_permissions_stay_and_what_may_not_be_written_is_not(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write(path)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o640)
    path.chmod(0o440)
    if os.access(path, os.W_OK):  # root may
        return
    with pytest.raises(PermissionError, match=r"/a'$"):
        write(path)


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "n" * 101])
def test_a_long_name_gets_a_partial_of_another(tmp_path, name):
    write(tmp_path / name)
    writing = whole(tmp_path / name)
    writing.__enter__()  # as if killed
    assert len(list(tmp_path.iterdir())) == 2
    remove_partials(tmp_path, [name])
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_errors_name_the_path_that_was_asked_for(tmp_path):
    for path in (tmp_path, tmp_path / "no" / "a"):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            write(path)
        assert caught.value.filename == str(path)
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_nothing_and_loses_nothing(tmp_path):
    def stop(path):
        with whole(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    path = tmp_path / "a"
    with pytest.raises(KeyboardInterrupt):
        stop(path)
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        stop(path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"before")]
    with pytest.raises(FileNotFoundError):
        stop(tmp_path / "no" / "a")


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are of another kind")
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o000])
def test_permissions_are_those_of_a_file_that_is_plainly_opened(tmp_path, mask):
    before = os.umask(mask)
    try:
        (tmp_path / "plain").write_bytes(b"")
        with whole(tmp_path / "ours"):
            pass
    finally:
        os.umask(before)
    plain, ours = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours"))
    assert ours == plain == 0o666 & ~mask


def test_what_killed_processes_left_is_removed_by_the_name_of_its_file(tmp_path):
    def started(name):
        writing = whole(tmp_path / name)
        return writing, writing.__enter__()  # as if killed: it never comes to its end

    names = ["model.safetensors", ".metadata", "model.safetensors.index.json", "other"]
    left = {name: [started(name) for _ in range(2)] for name in names}
    others = [tmp_path / ".model.safetensors.backup.partial", tmp_path / "model.safetensors"]
    for path in others:
        path.write_bytes(b"not of a write that was stopped")
    remove_partials(tmp_path, names[:2])
    kept = [file.name for name in names[2:] for _, file in left[name]]
    assert sorted(map(str, tmp_path.iterdir())) == sorted([*map(str, others), *map(str, kept)])


def test_a_partial_that_is_no_file_is_left(tmp_path):
    (tmp_path / ".a.0123456789abcdef.partial").mkdir()
    remove_partials(tmp_path, ["a"])
    assert [path.name for path in tmp_path.iterdir()] == [".a.0123456789abcdef.partial"]


def no_files(folder):
    """What has a name and is no file, by how it is called."""
    (folder / "folder").mkdir()
    (folder / "outside").write_text("secret")
    (folder / "link").symlink_to("outside")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "socket"))
    return {
        "a folder": folder / "folder",
        "a named pipe": folder / "pipe",
        "a socket": folder / "socket",
        "a device": Path("/dev/zero"),
        "a symbolic link": folder / "link",
    }


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pipes with names")
def test_only_files_are_opened_and_nothing_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for the path of a socket must be short
    for kind, path in no_files(Path()).items():
        assert kind_of(path) == kind
        with pytest.raises(ValueError, match=f"it is {kind}, expected a file"):
            open_regular(path, links=False)
        if kind != "a symbolic link":
            with pytest.raises(ValueError, match=f"it is {kind}, expected a file"):
                open_regular(path, links=True)
    assert read_text(tmp_path / "link", links=True) == "secret"
    with pytest.raises(ValueError, match="a symbolic link"):
        open_regular(tmp_path / "dangling", links=False)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "dangling", links=True)
    assert kind_of(tmp_path / "none") == kind_of(tmp_path / "outside" / "none") == ""


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="the system follows links")
def test_what_takes_the_place_of_a_file_just_before_it_is_opened(tmp_path, monkeypatch):
    path, opened = tmp_path / "a", os.open

    def swapped(make):
        def open_late(*arguments):
            path.unlink()
            make()
            return opened(*arguments)

        return open_late

    for make in (lambda: path.symlink_to("b"), lambda: os.mkfifo(path)):
        path.unlink(missing_ok=True)
        path.write_text("")
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", swapped(make))
            with pytest.raises(ValueError, match="expected a file"):
                open_regular(path, links=False)


def test_texts_have_a_limit_and_are_utf8(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_text(path, links=False, most=5) == "12345"
    with pytest.raises(ValueError, match="larger than 4 bytes"):
        read_text(path, links=False, most=4)
    path.write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(path, links=False)


def test_names_that_lead_nowhere_else():
    good = ["model.safetensors", ".metadata", "a b", "é", "..a"]
    bad = ["", ".", "..", "/", "a/", "/a", "a/b", "../a", "a\\b", "C:a", "a\0", "a\n", "\ud800", 7]
    assert [name for name in good if not is_plain_name(name)] == []
    assert [name for name in bad if is_plain_name(name)] == []


@pytest.fixture
def busy(monkeypatch):
    """What a program has open is not replaced, as on Windows."""
    opened, replace = [], os.replace

    def refuse(source, target):
        if any(os.path.realpath(file.name) == str(target) for file in opened if not file.closed):
            raise PermissionError(errno.EACCES, "Access is denied", str(source), 5, str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    return opened


def test_a_file_that_is_open_for_a_moment_is_replaced(tmp_path, busy):
    path = tmp_path / "plan.json"
    path.write_bytes(b"old")
    busy.append(path.open("rb"))
    closing = threading.Timer(0.1, busy[0].close)
    closing.start()
    write(path)
    closing.join()
    assert path.read_bytes() == b"new"


def test_of_a_file_that_stays_open_the_error_names_it(tmp_path, busy):
    path = tmp_path / "plan.json"
    path.write_bytes(b"old")
    busy.append(path.open("rb"))
    with pytest.raises(
        PermissionError, match=r"is denied: is it open in another program\?"
    ) as caught:
        write(path)
    busy[0].close()
    assert caught.value.filename == str(path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("plan.json", b"old")]


@posix
@pytest.mark.parametrize(("number", "stops"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_file_system_that_brings_no_folder_onto_the_disk(tmp_path, monkeypatch, number, stops):
    """CIFS and some others answer EINVAL; a fault of the disk is told all the same."""
    fsync = os.fsync

    def refuse(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    fails = pytest.raises(OSError, match="Input/output error")
    with fails if stops else contextlib.nullcontext():
        write(tmp_path / "file")


@posix
@pytest.mark.parametrize("knows", [True, False])
def test_macos_is_told_to_empty_the_memory_of_the_disk(tmp_path, monkeypatch, knows):
    """Its fsync does not; where the file system does not know the call, fsync must do."""
    import fcntl

    calls, fsync = [], os.fsync

    def call(handle, command):
        calls.append(command)
        if not knows:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    def synced(handle):
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", call)
    monkeypatch.setattr(os, "fsync", synced)
    write(tmp_path / "file")
    assert calls == [51, "folder"] if knows else [51, "file", "folder"]


@pytest.mark.parametrize("name", ["nul", "COM1.txt", "lpt³", "aux .json", "a:b", "a?", "a ", "a."])
def test_names_that_windows_takes_for_something_else(name):
    assert not is_plain_name(name)
    assert is_plain_name(f"x{name}x".replace(":", "").replace("?", ""))
