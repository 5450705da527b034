"""Every command of the README, in an empty environment that holds the built wheel.

    python tests/installed.py dist/isoinit-*.whl

This takes minutes and two gigabytes, so no test runs it: `make package-smoke` does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(isoinit[ .][^`]+)`")
MODEL = """
import torch
from torch import nn


def build():
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)), torch.randn(64, 8)
"""
KERAS = """
import keras
import isoinit.keras

model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
"""
# What a clone has a target for, and the wheel a command or nothing.
CLONE = {"make demo": "isoinit demo", "pip install .": None, "make docs": None}


@dataclass(frozen=True)
class Command:
    """One command of the README.

    Attributes:
        said: how the README says it.
        words: the program of the environment and its arguments.
        extras: what it needs beyond the wheel, as extras of the package.
    """

    said: str
    words: tuple[str, ...]
    extras: tuple[str, ...] = ()


def commands(text: str) -> list[Command]:
    """Return the commands of a README, those that need no extra first.

    Raises:
        ValueError: for one that is not known, so that none is left out.
    """
    found = [each for language, code in BLOCK.findall(text) for each in _of_block(language, code)]
    found += [_of_line(said) for said in INLINE.findall(BLOCK.sub("", text))]
    return sorted((each for each in found if each is not None), key=lambda each: each.extras)


def _of_block(language: str, code: str) -> list[Command | None]:
    if language == "sh":
        return [_of_line(line.partition("#")[0].strip()) for line in code.splitlines()]
    if language != "python":
        raise ValueError(f"a block of {language}: say here how it is run")
    extras = ("jax",) if "import jax" in code else ()
    return [Command(code.strip().partition("\n")[0] + " …", ("python", "-c", code), extras)]


def _of_line(said: str) -> Command | None:
    if said in CLONE:
        if (instead := CLONE[said]) is None:
            return None
        return Command(said, tuple(instead.split()), ("demo",))
    if said.startswith("isoinit.keras."):
        return Command(said, ("python", "-c", KERAS + said), ("jax", "keras"))
    if said.startswith(("isoinit plan ", "isoinit check ")):
        return Command(said, tuple(said.split()))
    raise ValueError(f"{said!r}: say here how it is run")


def main(wheel: Path) -> None:
    """Install the wheel into a new environment and run the commands; exit with 1 if one fails."""
    version = wheel.name.split("-")[1]
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        home = place / "environment"
        venv.create(home, with_pip=True)
        (place / "my_model.py").write_text(MODEL, encoding="utf-8")
        installed: set[str] = set()
        _install(home, wheel, installed)
        where = (
            f"import isoinit; assert isoinit.__version__ == {version!r}; print(isoinit.__file__)"
        )
        first = Command("the wheel is imported", ("python", "-c", where))
        for command in [first, *commands((ROOT / "README.md").read_text(encoding="utf-8"))]:
            if not installed.issuperset(command.extras):
                _install(home, wheel, installed := installed | set(command.extras))
            print(f"\n=== {command.said}", flush=True)
            start = time.perf_counter()
            done = _run(home, place, command)
            print(f"=== exit status {done} after {time.perf_counter() - start:.1f} s", flush=True)
            failed += [command.said] if done else []
    if failed:
        sys.exit("failed: " + ", ".join(failed))


def _install(home: Path, wheel: Path, extras: set[str]) -> None:
    what = f"{wheel.resolve()}[{','.join(sorted(extras))}]" if extras else str(wheel.resolve())
    pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-compile"]
    print(f"\n=== pip install {what}", flush=True)
    subprocess.run(
        [*pip, "--disable-pip-version-check", "-c", ROOT / "constraints.txt", what], check=True
    )


def _run(home: Path, place: Path, command: Command) -> int:
    """Run a command as someone does who has only this environment, and no checkout."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("PYTHON", "VIRTUAL_ENV"))}
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    program = home / "bin" / command.words[0]
    return subprocess.run(
        [program, *command.words[1:]],
        cwd=place,
        env={**kept, "PATH": path, "KERAS_BACKEND": "jax", "COLUMNS": "80"},
        check=False,
    ).returncode


if __name__ == "__main__":
    main(Path(sys.argv[1]))
