"""The documentation runs, its links lead somewhere, and its reference names what is public."""

import re
import sys
from pathlib import Path

import pytest
import torch
from typer.main import get_command
from typer.testing import CliRunner

import isoinit
from isoinit import functional, sparse, variational
from isoinit._planning import rules
from isoinit.cli.commands import app

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
DOCS += sorted((ROOT / "docs").rglob("*.md"))
NEEDS = {"wandb.md": "wandb", "mlflow.md": "mlflow"}  # packages that only these pages use
DECISIONS = [path for path in DOCS if path.parent.name == "decisions" and path.stem != "index"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROOMS = (functional, sparse, variational)
PUBLIC = {"checkpoint", "errors", "initializers", "jax", "keras", "lightning", "testing"}
PUBLIC |= {"transformers"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# A file or a folder of the repository, as pages write it: `_planning/rules/table.py`, `tests/zoo/`.
PLACE = re.compile(r"`((?:[\w.-]+/)*(?:[\w-]+/|[\w-]+\.(?:py|css)))`")


def name_of(path):
    return str(path.relative_to(ROOT))


def runs(path):
    text = path.read_text(encoding="utf-8")
    return any(match[1] in ("python", "console") for match in BLOCK.finditer(text))


def prose(text):
    return BLOCK.sub("", text)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A temporary folder that files are written to and modules are imported from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before, threads = set(sys.modules), torch.get_num_threads()
    torch.set_num_threads(1)  # for small networks the faster, above all on a busy machine
    yield tmp_path
    torch.set_num_threads(threads)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("path", [path for path in DOCS if runs(path)], ids=name_of)
def test_blocks_run_in_order(path, workplace):
    """Python runs in one namespace a file; a first line `# name.py` writes the block there too.

    Lines `$ isoinit ...` of console blocks run in this process; `# exit status N` says which.
    """
    pytest.importorskip(NEEDS.get(path.name, "isoinit"))
    text = path.read_text(encoding="utf-8")
    namespace = {"__name__": path.stem}
    for match in BLOCK.finditer(text):
        language, code = match.groups()
        line = text[: match.start()].count("\n") + 1
        if language == "python":
            if name := re.match(r"# (\w+\.py)\n", code):
                (workplace / name[1]).write_text(code, encoding="utf-8")
            exec(compile("\n" * line + code, str(path), "exec"), namespace)
        elif language == "console":
            for command in re.findall(r"^\$ isoinit (.*)$", code, re.MULTILINE):
                run(command)


def run(command):
    words, _, comment = command.partition("#")
    status = re.search(r"exit status (\d)", comment)
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == int(status[1] if status else 0), (command, result.output)


@pytest.mark.parametrize("path", DOCS, ids=name_of)
def test_relative_links_resolve(path):
    for link in LINK.findall(prose(path.read_text(encoding="utf-8"))):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{path.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{path.name}: {link}"


def anchors(path):
    """The anchors that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", prose(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def documented():
    """What the pages of the reference document: the directives `::: isoinit.name`."""
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        yield from re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)


def test_the_reference_names_nothing_private():
    """Only names of `isoinit` itself and of the public packages."""
    for name in documented():
        first, *rest = name.removeprefix("isoinit.").split(".")
        assert first in {*isoinit.__all__, *PUBLIC}, name
        assert not any(part.startswith("_") for part in rest), name


@pytest.mark.parametrize("module", [isoinit, *ROOMS], ids=lambda module: module.__name__)
def test_the_reference_names_every_public_name(module):
    """By a directive of its own, or by that of its module, which shows what the module exports."""
    found = set(documented())
    names = {f"{module.__name__}.{name}" for name in module.__all__}
    names -= {room.__name__ for room in ROOMS}
    assert module.__name__ in found or names <= found, names - found


def test_the_page_of_the_command_line_has_every_option():
    """In the lines of its first block: one a command, or more where the next ones are indented."""
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^isoinit (\w+)(.*(?:\n .*)*)", page, re.MULTILINE))
    commands = get_command(app).commands
    assert shown.keys() == commands.keys()
    for name, command in commands.items():
        options = {option for given in command.params for option in given.opts}
        options = {option for option in options if option.startswith("--")} - {"--help"}
        assert set(re.findall(r"--[\w-]+", shown[name])) == options, name


def test_the_page_of_rules_is_the_rule_book():
    page = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    assert f"\n\n{rules.to_markdown()}\n\n" in page


def test_each_figure_beside_other_libraries_stands_on_a_page_that_its_row_links():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("## Beside other libraries")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!\|).*$", table, re.MULTILINE)
    figures = 0
    for row in rows:
        links = [name for name in LINK.findall(row) if not name.startswith("http")]
        pages = [(ROOT / name.partition("#")[0]).read_text(encoding="utf-8") for name in links]
        for figure in re.findall(r"\b\d+\.\d+\b|\b\d+ of \d+\b", re.sub(r"\([^)]*\)", "", row)):
            assert any(figure in page for page in pages), (figure, row)
            figures += 1
    assert figures > 8


def test_the_architecture_is_one_page():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert len(text.split()) < 1200


HOUSE = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md", *DECISIONS]


@pytest.mark.parametrize("path", HOUSE, ids=name_of)
def test_files_and_folders_that_are_named_are_there(path):
    """By their path from the repository's root, or by the end of their path in code or tests."""
    for place in PLACE.findall(path.read_text(encoding="utf-8")):
        ends = any(any((ROOT / folder).rglob(place)) for folder in ("src", "tests"))
        assert ends or (ROOT / place).exists(), place


@pytest.mark.parametrize("path", DECISIONS, ids=name_of)
def test_a_decision_has_four_parts_and_a_line_in_the_index(path):
    text = path.read_text(encoding="utf-8")
    parts = ["Context", "Decision", "What was measured", "What it costs"]
    assert re.findall(r"^#+ (.+)$", text, re.MULTILINE)[1:] == parts
    title = text.partition("\n")[0].removeprefix("# ")
    index = path.with_name("index.md").read_text(encoding="utf-8")
    assert f"- [{title}]({path.name})" in index


def test_each_dependency_earns_its_place():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    names = re.findall(r'"([\w-]+)', text.partition("\ndependencies = [")[2].partition("]")[0])
    page = (ROOT / "docs" / "decisions" / "dependencies.md").read_text(encoding="utf-8")
    assert len(names) > 5
    assert all(re.search(rf"^\| {name}\b", page, re.MULTILINE) for name in names), names
