"""The action for GitHub and the hooks for pre-commit, run as those run them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]
MODELS = """
import torch
from torch import nn

class Forgetful(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
        self.scale = nn.Parameter(torch.full((4,), 1e-5))

def sick():
    torch.manual_seed(0)
    layers = [x for _ in range(20) for x in (nn.Linear(32, 32), nn.ReLU())]
    return nn.Sequential(*layers), torch.randn(64, 32)

def good():
    return nn.Linear(4, 4)
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with models; `isoinit` and `python` on the path are those of the tests."""
    (tmp_path / "bin").mkdir()
    for name, code in {
        "isoinit": "import sys; from isoinit.cli import main; main()",
        "python": None,
    }.items():
        call = f"-c {code!r} " if code else ""
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {call}"$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    (work / "models.py").write_text(MODELS)
    return work


def environment(folder, **more):
    path = os.pathsep.join([str(folder.parent / "bin"), os.environ["PATH"]])
    source = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PATH": path, "PYTHONPATH": source, "COLUMNS": "80", **more}


def run_action(folder, **given):
    """Run the steps of the action as a runner does: fill in the inputs, then bash with -e."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    inputs = {name: each.get("default", "") for name, each in action["inputs"].items()} | given
    said, status = "", 0
    for step in action["runs"]["steps"]:
        assert "${{" not in step["run"]  # an input in a script would be run as code
        condition = step.get("if", "inputs.target != ''")
        (name,) = re.fullmatch(r"inputs\.(\w+) != ''", condition).groups()
        if not inputs[name]:
            continue
        found = {
            key: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda m: inputs[m[1]], value)
            for key, value in step["env"].items()
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(
            command, cwd=folder, env=environment(folder, **found), capture_output=True, text=True
        )
        said, status = said + done.stdout + done.stderr, done.returncode
        if status:
            break
    return status, said


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("given", "status", "match"),
    [
        ({"target": "models.py:good", "command": "audit"}, 0, "nothing forgotten"),
        ({"target": "models.py:Forgetful", "command": "audit"}, 1, r"::error.*scale"),
        ({"target": "models.py:sick", "options": "--strict --seed 1"}, 1, r"::(error|warning)"),
        ({"target": "models.py:good", "command": "demo"}, 2, "::error::command is 'demo'"),
        ({"target": "models.py:good; touch owned", "command": "audit"}, 2, "isoinit: "),
    ],
)
def test_the_steps_of_the_action(folder, given, status, match):
    found, said = run_action(folder, install="", **given)
    assert found == status, said
    assert re.search(match, said), said
    assert not (folder / "owned").exists()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_action_installs_by_pip(folder):
    found, said = run_action(
        folder, target="models.py:good", command="audit", install="--dry-run pip"
    )
    assert found == 0, said
    assert "nothing forgotten" in said


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(("target", "status"), [("models.py:good", 0), ("models.py:Forgetful", 1)])
def test_the_hook_in_a_repository(folder, target, status, tmp_path):
    pytest.importorskip("pre_commit")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    for place in (hooks, folder):
        git(place, "init", "-q")
        git(place, "add", "-A")
        git(place, "commit", "-qm", "all")
    used = {"repo": str(hooks), "rev": git(hooks, "rev-parse", "HEAD"),
            "hooks": [{"id": "isoinit-audit", "args": [target]}]}  # fmt: skip
    (folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [used]}))
    git(folder, "add", "-A")
    env = environment(folder, PRE_COMMIT_HOME=str(tmp_path / "cache"))
    command = [sys.executable, "-m", "pre_commit", "run", "--all-files", "--color", "never"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    assert ("Failed" in done.stdout) == bool(status)
    assert ("scale" in done.stdout) == bool(status)


def test_the_manifest_is_one_that_pre_commit_takes():
    clientlib = pytest.importorskip("pre_commit.clientlib")
    hooks = clientlib.load_manifest(str(ROOT / ".pre-commit-hooks.yaml"))
    assert [hook["id"] for hook in hooks] == ["isoinit-audit", "isoinit-check"]
