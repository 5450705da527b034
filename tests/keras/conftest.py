"""Keras under each backend, once for all tests: a process of its own says what it found."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compiled import environment

collect_ignore = ["models.py", "program.py"]  # they run in a process of their own
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """One for all workers of a session: what one of them ran, the others read."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    (shared / "keras").mkdir(exist_ok=True)
    return shared / "keras"


def run(backend, folder):
    pytest.importorskip("keras")
    told = folder / f"told by {backend}.json"
    with (folder / f"{backend}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            tell(backend, folder)
    return json.loads(told.read_text())


def tell(backend, folder):
    own = {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "", "KERAS_HOME": str(folder)}
    command = [sys.executable, "-W", "ignore", str(HERE / "program.py"), str(folder)]
    done = subprocess.run(
        command,
        env=environment(quickly=True, **own),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="session")
def torch_told(folder):
    return run("torch", folder)


@pytest.fixture(scope="session")
def jax_told(torch_told, folder):
    pytest.importorskip("jax")
    return run("jax", folder)


@pytest.fixture(scope="session")
def numpy_told(torch_told, folder):
    return run("numpy", folder)


@pytest.fixture(scope="session")
def both(torch_told, jax_told):
    return {"torch": torch_told, "jax": jax_told}
