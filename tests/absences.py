"""What other systems lack, taken from a process before isoinit is imported; and a day's work there.

Nothing of isoinit is replaced. Names of Python's modules are deleted, and an audit hook raises what
the other system would: it is called below all that Python opens, renames and removes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

WINDOWS = r"""
import sys

import torch  # asks sys.platform which of these to use, and is built for this system

import builtins, ctypes, io, os, signal, tempfile

for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None
MISSING = '''posix_fadvise posix_fallocate POSIX_FADV_DONTNEED sched_getaffinity sched_setaffinity
fork forkpty register_at_fork O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_CLOEXEC O_TMPFILE getloadavg
getuid geteuid getgid mkfifo setsid killpg sysconf fchmod fchown chown memfd_create posix_spawn
wait3 wait4 fdatasync sync nice'''
for name in MISSING.split():
    if hasattr(os, name):
        delattr(os, name)
tempfile._O_TMPFILE_WORKS = False
# Not SIGKILL, which torch names where sys.platform is not win32.
MISSING = '''SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGPIPE SIGQUIT SIGSTOP SIGCONT SIGWINCH SIGPROF
pthread_sigmask pthread_kill setitimer getitimer alarm pause sigwait siginterrupt'''
for name in MISSING.split():
    if hasattr(signal, name):
        delattr(signal, name)
KNOWN, set_handler = {2, 4, 6, 8, 11, 15, 21, 22}, signal.signal


def set_known(number, handler):
    if number not in KNOWN:
        raise ValueError("invalid signal value")
    return set_handler(number, handler)


signal.valid_signals, signal.signal = lambda: KNOWN, set_known


def held():
    handles = (f"/proc/self/fd/{handle}" for handle in os.listdir("/proc/self/fd"))
    return {os.path.realpath(handle) for handle in handles}


def as_windows(event, args):
    places = [os.fsdecode(arg) for arg in args[:2] if isinstance(arg, (str, bytes, os.PathLike))]
    if event == "open" and places and places[0].startswith("/dev/shm"):
        raise FileNotFoundError(2, "No such file or directory", places[0])
    if event == "open" and places and args[1] is None and os.path.isdir(places[0]):  # os.open
        raise PermissionError(13, "Permission denied", places[0])
    if event in ("os.rename", "os.remove") and places[0].startswith(FOLDER):
        if busy := held().intersection(map(os.path.realpath, places)):
            raise PermissionError(13, "The process cannot access the file", busy.pop())


sys.addaudithook(as_windows)


# Names of files are the same whatever their case.
def folded(path):
    if not isinstance(path, (str, os.PathLike)):
        return path
    place = os.path.join(FOLDER, os.fspath(path))  # which is the working folder, too
    return FOLDER + place[len(FOLDER) :].lower() if place.startswith(FOLDER) else path


def folding(function, paths=1):
    def call(*args, **kwargs):
        return function(*map(folded, args[:paths]), *args[paths:], **kwargs)

    return call


for name in "open stat statvfs lstat unlink remove mkdir rmdir scandir listdir access chmod".split():
    setattr(os, name, folding(getattr(os, name)))
os.replace, os.rename = folding(os.replace, 2), folding(os.rename, 2)
builtins.open = io.open = folding(io.open)

# A C library that has no madvise, such as one that is not Linux's.
library = ctypes.CDLL


class CDLL(library):
    def __getattr__(self, name):
        if name == "madvise":
            raise AttributeError(name)
        return super().__getattr__(name)


ctypes.CDLL = CDLL
"""
"""As on Windows: modules, names and signals that are not there; folders that cannot be opened, open
files that are neither replaced nor removed, names of files in one case; and no /dev/shm or madvise."""

READ_ONLY = r"""
import os, sys

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.utime", "os.rename", "os.symlink")


def refuse(event, args):
    if event in CHANGES or (event == "open" and args[2] & WRITES and not isinstance(args[0], int)):
        place = os.path.realpath(os.fsdecode(args[0]))
        if not place.startswith((FOLDER, "/dev/")):
            raise OSError(30, "Read-only file system", place)


sys.addaudithook(refuse)
"""
"""As where all folders but one are read-only: home, site-packages, caches, the working folder."""

NO_DISTRIBUTED = r"""
import sys
from importlib.machinery import PathFinder

GONE = ("_rpc_init", "_dist_autograd_init", "_faulty_agent_init")


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("torch._C._distributed"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name != "torch._C":
            return None
        spec = PathFinder.find_spec(name, path, target)
        load = spec.loader.exec_module

        def load_less(module):
            load(module)
            for name in [name for name in vars(module) if name in GONE or "c10d" in name]:
                delattr(module, name)

        spec.loader.exec_module = load_less
        return spec


sys.meta_path.insert(0, Finder())
"""
"""As a build of torch without torch.distributed."""

BUILD = """
def build():
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(32, 1024))
            self.W = nn.Parameter(torch.zeros(1024, 1024))
            self.out = nn.Linear(1024, 4)

        def forward(self, x):
            return self.out(torch.relu(torch.relu(x @ self.w) @ self.W))

    return Model(), torch.randn(16, 32, generator=torch.Generator().manual_seed(1))
"""
"""What makes a model and a batch; two of its names differ only in case, and Numba pays off."""

WORK = """
import hashlib, os, sys

import isoinit


def command(*words):
    from isoinit.cli import main

    sys.argv = ["isoinit", *map(str, words)]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"{words} ended with {ended.code}") from None


def require(answer):
    if not answer:  # `python -O` takes assertions away
        raise RuntimeError("a wrong answer")


os.chdir(FOLDER)
with open(TARGET, "w", encoding="utf-8") as file:
    file.write(BUILD)
exec(BUILD)
model, batch = build()
plan = isoinit.plan(model, batch, method=METHOD)
plan.apply(model, seed=0)
require(isoinit.check(model, batch).ok)
require(isoinit.audit(lambda: build()[0]) is not None)
plan.save("Plan.json")
require(isoinit.Plan.load(PLAN).digest == plan.digest)
for layout in LAYOUTS:
    options = {"seed": 0, "format": layout, "max_shard_size": "2MB"}
    require(isoinit.write_checkpoint(plan, build()[0], layout, **options).new)
    require(isoinit.verify_checkpoint(layout).ok)
    same = layout.upper() if FOLDS else layout
    require(not isoinit.write_checkpoint(plan, build()[0], same, **options).new)
method = "--method", METHOD
command("plan", f"{TARGET}:build", "--html", "page.html", *method)
command("init", f"{TARGET}:build", "-o", "commanded", "--check", *method)
command("verify", "commanded")
bits = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
print("bits", hashlib.sha256(bits).hexdigest())
print("left", sorted(n for n in os.listdir("commanded") if n.startswith(".")))
"""


def environment(**others: str | None) -> dict[str, str]:
    """Return this process's environment with others in it; None takes one away."""
    # Torch tells its children where its own cache is.
    found = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": None, **others}
    return {name: value for name, value in found.items() if value is not None}


def run(
    code: str,
    folder: Path,
    flags: tuple[str, ...] = (),
    given: dict[str, object] | None = None,
    **env: str | None,
) -> subprocess.CompletedProcess[bytes]:
    """Run code in a process of its own, which knows its folder as FOLDER."""
    names = {"FOLDER": str(folder), **(given or {})}
    head = [
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})"
    ]  # `python -I` reads no PYTHONPATH
    head += [f"{name} = {value!r}" for name, value in names.items()]
    command = [sys.executable, *flags, "-c", "\n".join([*head, code])]
    return subprocess.run(command, capture_output=True, env=environment(**env), check=False)


def bits_here(method: str = "auto") -> str:
    """Return what the day's work gives in this process, where nothing is missing."""
    import isoinit

    names: dict[str, object] = {}
    exec(BUILD, names)
    model, batch = names["build"]()  # type: ignore[operator]
    isoinit.plan(model, batch, method=method).apply(model, seed=0)
    values = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    return hashlib.sha256(values).hexdigest()
