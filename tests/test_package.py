"""What is shipped: sdist, wheel, their metadata, and the files that GitHub and the index read."""

import json
import re
import subprocess
import sys
import tarfile
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest
from markdown_it import MarkdownIt
from packaging.version import Version

import isoinit
from installed import commands

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
URLS = PROJECT["project"]["urls"]
VERSION = isoinit.__version__
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TOOLS = ("build", "twine", "hatchling", "hatch_fancy_pypi_readme", "check_jsonschema")
CACHES = re.compile(r"__pycache__|\.py[co]$|\.egg-info|\.partial$|_cache/|\.venv|\.lock$|\.nb[ci]$")
MINIFIED = re.compile(r"\.min\.(js|css)$|\.woff2?$|\.ttf$")

shipped = pytest.mark.skipif(
    not all(map(find_spec, TOOLS)) or not (ROOT / ".git").exists(),
    reason="needs the extra dev and a checkout",
)


def tool(*words):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked():
    """The files of the checkout that git does not ignore."""
    said = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name for name in said.stdout.splitlines() if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist and the wheel, as `make package` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    tool("build", "--no-isolation", "--outdir", folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def metadata(built):
    """The metadata of the wheel; the long description is its payload."""
    with ZipFile(built[1]) as wheel:
        (name,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(wheel.read(name).decode())


@shipped
def test_the_index_would_take_both(built):
    assert tool("twine", "check", "--strict", *built).count("PASSED") == 2


@shipped
def test_the_wheel_holds_the_library_and_nothing_else(built):
    with ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
    info = f"isoinit-{VERSION}.dist-info/"
    package = {n.removeprefix("src/") for n in tracked() if n.startswith("src/")}
    assert {name for name in names if not name.startswith(info)} == package
    page = "isoinit/_showing/page/"
    needed = {"isoinit/py.typed", "isoinit_pytest.py", f"{page}page.css", f"{page}parts/main.js"}
    assert names >= needed | {f"{page}vendor/uPlot.iife.min.js"}
    assert {n for n in names if n.startswith(f"{info}licenses/")} == {
        f"{info}licenses/{name}" for name in PROJECT["project"]["license-files"]
    }


@shipped
def test_the_sdist_holds_what_tests_need_and_no_caches(built):
    with tarfile.open(built[0]) as sdist:
        names = {m.name.partition("/")[2] for m in sdist.getmembers() if m.isfile()}
    assert names - {"PKG-INFO"} == tracked()
    assert {"tests/test_package.py", "docs/index.md", "constraints.txt", "conftest.py"} <= names
    assert not [name for name in names if CACHES.search(name)]
    assert built[0].stat().st_size < 10e6


@shipped
def test_the_metadata_is_complete(metadata):
    from trove_classifiers import classifiers

    assert metadata["Version"] == VERSION
    assert metadata["License-Expression"] == "Apache-2.0 AND MIT"
    assert metadata.get_all("License-File") == PROJECT["project"]["license-files"]
    assert dict(url.split(", ") for url in metadata.get_all("Project-URL")) == URLS
    found = metadata.get_all("Classifier")
    assert set(found) <= set(classifiers)
    assert "Typing :: Typed" in found
    assert not [each for each in found if each.startswith("License ::")]  # as the expression stands
    assert metadata["Description-Content-Type"] == "text/markdown"


def links(markdown):
    """The addresses of links and pictures, as a reader of Markdown finds them."""
    waiting = MarkdownIt("commonmark").enable("table").parse(markdown)
    while waiting:
        token = waiting.pop()
        waiting += token.children or []
        yield from (str(token.attrs[key]) for key in ("href", "src") if key in token.attrs)


@shipped
def test_the_index_page_has_no_relative_link(metadata):
    """They are absolute, at the tag of the release, and each leads to a file of the repository."""
    found = set(links(metadata.get_payload()))
    assert [link for link in found if not link.startswith("https://")] == []
    page = f"{URLS['Source']}/blob/v{VERSION}/"
    picture = page.replace("github.com", "raw.githubusercontent.com").replace("/blob", "")
    own = {link.partition("#")[0] for link in found if "isoinit/isoinit" in link}
    paths = {link.removeprefix(page).removeprefix(picture) for link in own}
    assert {path for path in paths if not (ROOT / path).exists()} == set()
    assert f"{picture}docs/demo.png" in own
    relative = {n.partition("#")[0] for n in links((ROOT / "README.md").read_text("utf-8"))}
    assert {name for name in relative if not name.startswith("https://")} == paths
    assert len(paths) > 20


@pytest.mark.parametrize(
    "path", sorted((ROOT / "src").rglob("vendor")), ids=lambda p: p.parent.name
)
def test_what_is_vendored_is_licensed(path):
    """By a file beside it that both archives carry; its name and version stand in its first line."""
    listed = PROJECT["project"]["license-files"]
    licences = {p.name.partition(".")[0] for p in path.glob("*.LICENSE")}
    assert {p.relative_to(ROOT).as_posix() for p in path.glob("*.LICENSE")} <= set(listed)
    assert {p.name.partition(".")[0] for p in path.iterdir()} == licences
    assert "uPlot (v1.6.32)" in (path / "uPlot.iife.min.js").read_text("utf-8").partition("\n")[0]


def test_nothing_is_vendored_elsewhere():
    folders = [
        ROOT / name for name in ("src", "docs", "evidence", "benchmarks", "examples", "tests")
    ]
    found = [p for folder in folders for p in folder.rglob("*") if MINIFIED.search(p.name)]
    assert {path.parent.name for path in found} == {"vendor"}


def test_the_version_stands_in_one_place():
    """Others follow it: the citation, and the head of the list of changes."""
    assert str(Version(VERSION)) == VERSION  # in the form that the index gives it
    assert f'__version__ = "{VERSION}"' in (ROOT / "src/isoinit/_version.py").read_text("utf-8")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## (\S+), (\d{4}-\d\d-\d\d)$", changes, re.MULTILINE)
    assert released[0] == (VERSION, str(citation["date-released"]))
    assert citation["version"] == VERSION
    assert "version" in PROJECT["project"]["dynamic"]


def test_the_repository_has_one_address():
    """`[project.urls]` has it, and no other file names another."""
    names = ["CITATION.cff", "SECURITY.md", "README.md", "CONTRIBUTING.md", "pyproject.toml"]
    files = [ROOT / name for name in names]
    files += [p for p in (ROOT / ".github").rglob("*") if p.is_file()]
    files += [*(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]
    address = re.compile(r"(?:github|githubusercontent)\.com/([\w-]+/isoinit)\b")
    found = {name for path in files for name in address.findall(path.read_text(encoding="utf-8"))}
    assert found == {URLS["Source"].removeprefix("https://github.com/")}


@shipped
def test_files_that_others_read_follow_their_schemas():
    forms = [p for p in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if p.stem != "config"]
    for schema, files in {
        "vendor.github-workflows": WORKFLOWS,
        "custom.github-workflows-require-timeout": WORKFLOWS,
        "vendor.github-issue-forms": forms,
        "vendor.github-issue-config": [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"],
        "vendor.citation-file-format": [ROOT / "CITATION.cff"],
    }.items():
        assert files
        tool("check_jsonschema", "--builtin-schema", schema, *files)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_calls_one_target_a_line(path):
    """What runs on GitHub runs here, too: every `run` is a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split())
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    runs = [step["run"] for step in steps if "run" in step]
    assert runs
    for run in runs:
        assert re.fullmatch(r"make [\w-]+", run), run
        assert run.removeprefix("make ") in targets, run
        assert re.search(rf"^{run.removeprefix('make ')}:", makefile, re.MULTILINE), run


def test_only_the_job_that_publishes_may_identify_itself():
    """A trusted publisher needs no token; a job that runs code of the repository gets no rights."""
    release = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))
    assert release["permissions"] == {"contents": "read"}
    for name, job in release["jobs"].items():
        runs = any("run" in step for step in job["steps"])
        assert ("permissions" in job) != runs, name
        assert ("environment" in job) != runs, name
    assert "secrets." not in json.dumps(release)


def test_every_command_of_the_readme_is_run_from_the_wheel():
    """By `make package-smoke`: tests/installed.py knows each, and refuses one that it does not."""
    said = [each.said for each in commands((ROOT / "README.md").read_text(encoding="utf-8"))]
    assert "make demo" in said
    assert sum(name.startswith("isoinit ") for name in said) == 2
    with pytest.raises(ValueError, match="say here how it is run"):
        commands("```sh\nisoinit dance\n```\n")
    with pytest.raises(ValueError, match="a block of fish"):
        commands("```fish\nls\n```\n")
