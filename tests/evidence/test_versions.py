"""The runner of versions: what it reads of pytest, which interpreter it takes, and its table."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from evidence.versions import environments, suite, table

ROW = {
    "name": "lowest",
    "python": "3.10.13",
    "packages": {"torch": "2.6.0+cpu", "numpy": "1.26.0"},
    "faults": {"plan": "", "keras": "missing: keras", "jax": "KeyError: 'a' | <b>"},
    "bits": "17eda1",
    "suite": {
        "counts": {"passed": 1746, "failed": 1, "error": 1, "skipped": 3, "xfail": 0},
        "failed": {"tests/cli/test_run.py::test_one": "assert *a"},
        "whole": True,
    },
}
TESTS = """
def test_good(): pass
def test_bad(): assert 1 == 2, "no"
def test_left():
    import pytest
    pytest.skip("not here")
"""


def place(folder: Path, text: str) -> None:
    (folder / "tests").mkdir()
    (folder / "tests" / "test_some.py").write_text(text, encoding="utf-8")


def test_a_suite_is_counted_and_its_failures_are_named(tmp_path, monkeypatch):
    place(tmp_path, TESTS)
    monkeypatch.setattr(suite, "ROOT", tmp_path)
    found = suite.run(Path(sys.executable), 300, ["tests"])
    assert found["counts"] == {"passed": 1, "failed": 1, "error": 0, "skipped": 1, "xfail": 0}
    assert found["whole"]
    ((test, why),) = found["failed"].items()
    assert test == "tests/test_some.py::test_bad"
    assert "no" in why


def test_a_suite_is_stopped_after_its_time(tmp_path, monkeypatch):
    place(tmp_path, "import time\ndef test_slow(): time.sleep(600)\n")
    monkeypatch.setattr(suite, "ROOT", tmp_path)
    found = suite.run(Path(sys.executable), 3, ["tests"])
    assert not found["whole"]
    assert sum(found["counts"].values()) == 0


def test_the_newest_interpreter_of_a_version_is_taken(tmp_path, monkeypatch):
    for release in ("3.12.9", "3.12.10", "3.1.2"):
        python = tmp_path / "versions" / release / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.touch()
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert "3.12.10" in environments.interpreter("3.12")
    with pytest.raises(FileNotFoundError, match=r"no Python 3\.2: install it"):
        environments.interpreter("3.2")


def test_the_last_row_of_each_environment_counts(tmp_path):
    rows = tmp_path / "rows.jsonl"
    assert table.kept(rows) == {}
    rows.write_text("".join(json.dumps(ROW | {"bits": b}) + "\n" for b in "ab"), encoding="utf-8")
    assert table.kept(rows)["lowest"]["bits"] == "b"


def test_the_table_says_what_works_what_fails_and_what_was_not_tried(tmp_path, monkeypatch):
    page = tmp_path / "supported.md"
    page.write_text("# Versions\n<!-- tried -->\nold\n<!-- end of tried -->\n", encoding="utf-8")
    monkeypatch.setattr(table, "PAGE", page)
    newest = ROW | {"name": "newest", "faults": {"plan": ""}, "suite": None}
    table.write({"newest": newest, "lowest": ROW})
    text = page.read_text(encoding="utf-8")
    for line in (
        "|  | lowest | newest |",
        "| torch | 2.6.0 | 2.6.0 |",
        "| plan | works | works |",
        "| keras | not installed | not tried |",
        "| jax | fails | not tried |",
        "| tests that passed | 1,746 | not run |",
        "| tests that failed | 2 | not run |",
        "- `jax`: KeyError: 'a' \\| &lt;b>",
        "- `cli/test_run.py::test_one`: assert \\*a",
    ):
        assert line in text, line
    assert "old" not in text


def test_a_suite_without_an_end_says_so():
    cut = ROW | {"suite": ROW["suite"] | {"whole": False}}
    assert table._counts(cut, "passed") == "1,746 until the time was over"
