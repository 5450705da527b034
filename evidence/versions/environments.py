"""Builds the environments: which Python, which packages, and how they are chosen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".versions"


class Environment(NamedTuple):
    """An environment.

    Attributes:
        python: the version, such as "3.10".
        packages: requirements, beside those of isoinit.
        options: of `uv pip install`.
        overrides: versions that are installed whatever other packages ask for.
    """

    python: str
    packages: Sequence[str] = ()
    options: Sequence[str] = ()
    overrides: Sequence[str] = ()


TESTS = "pytest>=8.2 pytest-xdist>=3.6 hypothesis>=6.100 mpmath>=1.3".split()
MODELS = "flax>=0.10.6 equinox>=0.12.1 dm-haiku>=0.0.14 optax>=0.2.6".split()
NEWEST = ("torch<=2.14.1",)
"""The newest torch that is tried; all else is what the index has."""

ENVIRONMENTS = {
    "lowest": Environment(
        "3.10",
        ("transformers>=5.1", "pytorch-lightning>=2.4", *MODELS, *TESTS),
        ("--resolution", "lowest-direct"),
        ("typer==0.19.2",),  # transformers asks for a newer one for a command of its own
    ),
    "middle": Environment(
        "3.12",
        (
            *("torch==2.9.1", "numpy==2.2.6", "numba==0.62.1", "jax==0.8.0", "keras==3.12.0"),
            *("transformers==5.10.0", "pytorch-lightning==2.5.6", *MODELS, *TESTS),
        ),
    ),
    "pinned": Environment(
        "3.11",
        ("transformers", "pytorch-lightning", *MODELS, *TESTS),
        ("--constraints", str(ROOT / "constraints.txt")),
    ),
    "newest": Environment(
        "3.13",
        (*NEWEST, "transformers", "pytorch-lightning", *MODELS, *TESTS),
    ),
}


def build(name: str) -> Path:
    """Build an environment in `.versions/NAME`, unless it is there, and return its Python.

    Raises:
        FileNotFoundError: if there is no such Python on this machine.
        subprocess.CalledProcessError: if packages could not be installed.
    """
    folder, chosen = HOME / name, ENVIRONMENTS[name]
    python = folder / "bin" / "python"
    if (folder / "made.stamp").is_file():
        return python
    uv = _uv()
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([interpreter(chosen.python), "-m", "venv", folder], check=True)
    overrides = folder / "overrides.txt"
    overrides.write_text("\n".join(chosen.overrides))
    settings = dict(os.environ, UV_CACHE_DIR=str(HOME / "cache"), UV_HTTP_TIMEOUT="300")
    command = [uv, "pip", "install", "--quiet", "--python", python, "--override", overrides]
    command += [*chosen.options, "-e", f"{ROOT}[jax,keras,demo]", *chosen.packages]
    subprocess.run(command, check=True, env=settings)
    (folder / "made.stamp").touch()
    return python


def remove(name: str) -> None:
    """Remove an environment: one with CUDA libraries takes 6 GB."""
    shutil.rmtree(HOME / name, ignore_errors=True)


def interpreter(version: str) -> str:
    """Return the newest Python of a version: from the path, or where pyenv keeps them.

    Raises:
        FileNotFoundError: if there is none.
    """
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(kept.glob(f"{version}.*/bin/python"), key=lambda p: _number(p.parts[-3]))
    if found:
        return str(found[-1])
    if python := shutil.which(f"python{version}"):
        return python
    raise FileNotFoundError(f"no Python {version}: install it, or choose other environments")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _uv() -> Path:
    """Return uv, which is installed once: it resolves the lowest versions, which pip does not."""
    folder = HOME / "uv"
    if not (folder / "bin" / "uv").is_file():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run(
            [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"], check=True
        )
    return folder / "bin" / "uv"
