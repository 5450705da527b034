"""What a run stands on: the day, the commit, the processor and the packages."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "numpy", "numba", "jax", "transformers")
ROOT = Path(__file__).parents[1]
CODE = ("src", "*.py", "pyproject.toml")  # what a page's figures follow from


def today() -> str:
    """Return the day, in UTC."""
    return f"{datetime.now(timezone.utc):%Y-%m-%d}"


def commit() -> str:
    """Return the commit that runs; "+" behind it where code differs from it."""

    def git(*words: str) -> str:
        done = subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + "+" * bool(
        git("status", "--porcelain", "--", *CODE)
    )


def machine() -> str:
    """Return the processor and the number of its cores."""
    return f"{processor()}, {os.cpu_count()} cores"


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def packages(names: Sequence[str] = PACKAGES) -> str:
    """Return the versions of what is installed of some packages."""
    return ", ".join(f"{name} {found}" for name in names if (found := _version(name)))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
