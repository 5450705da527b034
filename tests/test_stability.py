"""What docs/stability.md promises of 1.x: files of earlier versions are read, names stay.

`stored/` holds what earlier versions wrote. Nothing there is written anew: a new format gets new
files beside the old ones. Only the names of `stored/names.json` grow, at each release:

    PYTHONPATH=src:tests python tests/test_stability.py
"""

import json
import re
import shutil
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import isoinit
from isoinit._drawing.streams.philox import DEFINITION
from isoinit._planning import saved
from isoinit.checkpoint import record
from isoinit.errors import ArgumentError, PlanError
from promises import NEEDS, PUBLIC, ROOT, broken, findings, promised

STORED = Path(__file__).with_name("stored")
NAMES = STORED / "names.json"
# By 0.1.0, the last version before one was published: format 1, and definition 1 of the numbers.
PLANS = {
    "initializers": "05a6fd6d971f8796",  # one parameter for each of them
    "jax": "d076778ae8615703",
    "network": "390286d94245af8e",  # weights that modules compute
    "transfer": "42f44091d4eea742",
}
FINGERPRINT = "975bfe0a3092f51b3be635181a735063"


def bits(plan):
    """A hash of what a plan gives its parameters under one seed."""
    found = blake2b(digest_size=8)
    for entry in plan:
        if entry.initializer is not None:
            out = np.empty(entry.shape, np.float32)
            given = (entry.initializer, entry.name, entry.shape, ())
            isoinit.fill_slice(out, *given, seed=5, layout=entry.layout)
            found.update(entry.name.encode() + out.tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_file_of_an_earlier_version_gives_its_bits(name):
    plan = isoinit.Plan.load(STORED / f"{name}.json")
    assert bits(plan) == PLANS[name]
    assert isoinit.Plan.from_json(plan.to_json()) == plan


def test_the_plan_files_have_every_initializer_that_an_option_makes():
    """Those that only models or data make are left out."""
    text = "".join(path.read_text(encoding="utf-8") for path in STORED.glob("*.json"))
    found = set(re.findall(r'"initializer": "(\w+)"', text))
    made = {n for n in isoinit.__all__ if isinstance(getattr(isoinit, n), type)}
    made = {n for n in made if issubclass(getattr(isoinit, n), isoinit.Initializer)}
    assert made - found == {"Initializer", "Directions", "FromPosterior"}


def test_a_checkpoint_of_an_earlier_version_is_verified():
    folder = STORED / "checkpoint"
    assert json.loads((folder / record.NAME).read_text("utf-8"))["isoinit"] == "0.1.0"
    found = isoinit.verify_checkpoint(folder)
    assert found.ok
    assert not found.findings
    assert f"fingerprint {FINGERPRINT}" in str(found)


def test_a_write_goes_on_under_its_own_version_only(tmp_path):
    """As the page says; the error names both versions."""
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(4, 2)
    plan = isoinit.plan(model)
    isoinit.write_checkpoint(plan, model, tmp_path / "mine", seed=7)
    known = record.load_record(tmp_path / "mine")
    other = {**known, "isoinit": "1.0.0"}
    other["digest"] = record.digest_of(other)
    (tmp_path / "mine" / record.NAME).write_text(record.to_text(other), encoding="utf-8")
    assert isoinit.verify_checkpoint(tmp_path / "mine").ok
    with pytest.raises(ArgumentError, match=r"isoinit is '1\.0\.0', not '" + isoinit.__version__):
        isoinit.write_checkpoint(plan, model, tmp_path / "mine", seed=7)


def test_numbers_of_another_definition_are_a_finding(tmp_path):
    shutil.copytree(STORED / "checkpoint", tmp_path / "other")
    changed = record.load_record(tmp_path / "other") | {"definition": DEFINITION + 1}
    changed["digest"] = record.digest_of(changed)
    (tmp_path / "other" / record.NAME).write_text(record.to_text(changed), encoding="utf-8")
    found = isoinit.verify_checkpoint(tmp_path / "other")
    assert [finding.name for finding in found.findings] == ["other numbers"]


def test_a_plan_file_of_a_later_format_says_so():
    data = json.loads((STORED / "network.json").read_text(encoding="utf-8"))
    data["version"] = saved.FORMAT.version + 1
    with pytest.raises(PlanError, match="use the isoinit that wrote it"):
        isoinit.Plan.from_json(json.dumps(data))


def test_a_rule_that_this_version_does_not_have_is_shown_by_its_name():
    data = json.loads((STORED / "network.json").read_text(encoding="utf-8"))
    data["parameters"]["6.weight"] |= {"rule": "a later rule", "close": ["one of then"]}
    plan = isoinit.Plan.from_json(json.dumps(data))
    assert plan["6.weight"].rule == "a later rule"
    assert "one of then" in plan.explain("6.weight")
    assert bits(plan) == PLANS["network"]


def test_every_public_module_is_promised():
    """But the programs: the command line, whose options are, and the demo."""
    entries = {
        path.stem for path in (ROOT / "src" / "isoinit").iterdir() if path.suffix != ".typed"
    }
    public = {f".{name}" for name in entries if not name.startswith("_")}
    assert public - {".cli", ".demo"} == {*PUBLIC} - {""}


def test_every_name_of_an_earlier_version_is_there():
    """With its arguments, their order and their defaults; and the words of files and settings."""
    kept = json.loads(NAMES.read_text(encoding="utf-8"))
    for name, package in NEEDS.items():
        if not find_spec(package):
            del kept["names"][f"isoinit{name}"]
    assert list(broken(kept, promised())) == []


def test_every_finding_that_is_promised_is_made_in_the_code():
    source = "".join(p.read_text("utf-8") for p in (ROOT / "src" / "isoinit").rglob("*.py"))
    trends = {name: f"{name.partition(' ')[0]} {{what}}" for name in findings()}
    made = {name for name in trends if f'"{name}"' in source or f'f"{trends[name]}"' in source}
    assert trends.keys() - made == set()


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (["model", "*seed=0"], []),
        (["model", "batch=None", "*seed=0", "*only=None", "***options"], []),
        (["model"], ["names.f: *seed=0 is gone"]),
        (["model", "*seed=None"], ["names.f: *seed=0 is gone"]),
        (["model", "*seed=0", "*only"], ["names.f: *only is new and must be given"]),
        (
            ["batch=None", "model", "*seed=0"],
            ["names.f: (batch=None, model, *seed=0), was (model, *seed=0)"],
        ),
        (None, ["names.f: takes no arguments"]),
    ],
)
def test_what_breaks_a_call_is_seen(now, said):
    assert list(broken({"names": {"f": ["model", "*seed=0"]}}, {"names": {"f": now}})) == said


def test_what_is_gone_is_seen():
    assert list(broken({"names": {"f": None}}, {"names": {}})) == ["names.f is gone"]
    before = {"findings": ["copies", "symmetry"], "recipes": ["own"]}
    said = ["findings: 'symmetry' is gone", "recipes is gone"]
    assert list(broken(before, {"findings": ["copies"]})) == said


if __name__ == "__main__":
    written = json.dumps(promised(), indent=1)
    lists = re.compile(r"\[[^\[\]{}]*\]")
    written = lists.sub(lambda found: " ".join(found[0].split()), written)
    NAMES.write_text(written + "\n", encoding="utf-8")
