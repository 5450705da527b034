"""The documentation, pyproject.toml and the README agree about what is supported."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "supported.md").read_text(encoding="utf-8")
tomllib = pytest.importorskip("tomllib")  # Python 3.11
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def numbers(version):
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0]))


def table():
    """The lowest and the newest version of each package."""
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \| ([\d.]+) \| [^|]+ \|$", PAGE, re.MULTILINE)
    return {name: (low, high) for name, low, high in rows}


def floors():
    """The lower bounds of pyproject.toml."""
    extras = PROJECT["optional-dependencies"]
    asked = [*PROJECT["dependencies"], *extras["jax"], *extras["keras"], *extras["dev"]]
    split = (re.fullmatch(r"([\w-]+)>=([\d.]+)[^\d.]*.*", each) for each in asked)
    return {found[1]: found[2] for found in split if found}


def test_the_lower_bounds_are_those_of_the_package():
    lowest = {name: low for name, (low, _) in table().items() if name != "Python"}
    known = floors()
    assert lowest == {name: known[name] for name in lowest}
    required = {re.match(r"[\w-]+", each)[0] for each in PROJECT["dependencies"]}
    assert required <= set(lowest)


def test_python():
    low, high = table()["Python"]
    assert PROJECT["requires-python"] == f">={low}"
    named = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if "Python :: 3." in each]
    assert named == [f"3.{n}" for n in range(numbers(low)[1], numbers(high)[1] + 1)]
    for page in ("README.md", "docs/index.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert re.findall(r"need Python ([\d.]*\d) or later", text) == [low], page


def test_what_was_tried_reaches_from_the_lowest_to_the_newest():
    section = PAGE.partition("<!-- tried -->")[2]
    for name, (low, high) in table().items():
        row = re.search(rf"^\| {name} \|(.+)\|$", section, re.MULTILINE)
        tried = sorted(numbers(cell) for cell in row[1].split("|") if numbers(cell))
        assert tried[0][: len(numbers(low))] == numbers(low), name
        assert tried[-1][: len(numbers(high))] == numbers(high), name
