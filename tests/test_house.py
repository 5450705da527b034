"""The house keeps its shape: few entries, short files and functions, no circle, few public names."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "src" / "isoinit"
FILES = sorted(HOUSE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
COMPILED = "kernels.py"  # Numba's disk cache follows one file


def module(path):
    parts = path.relative_to(HOUSE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): tree for path, tree in TREES.items()}


def imported(tree):
    """The modules of isoinit that a file imports: lazily and for type checkers, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def lines_of(function):
    """How long a function is without its docstring."""
    body = function.body[0]
    text = ast.get_docstring(function, clean=False) and body.end_lineno - body.lineno + 1
    return function.end_lineno - function.lineno + 1 - (text or 0)


def test_the_listing_is_short():
    entries = [path.name for path in HOUSE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 22, sorted(entries)


def test_files_are_short():
    texts = [
        p for p in HOUSE.rglob("*") if p.suffix in (".py", ".css", ".js") and p.name != COMPILED
    ]
    sizes = {str(path.relative_to(HOUSE)): path.read_text().count("\n") for path in texts}
    assert {name: size for name, size in sizes.items() if size > 400} == {}


def test_functions_fit_a_screen():
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = {
        f"{module(path)}.{node.name}": lines_of(node)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, functions) and lines_of(node) > 50
    }
    assert long == {}


def test_no_import_runs_in_a_circle():
    graph = {
        name: {other for other in imported(tree) if other in MODULES and other != name}
        for name, tree in MODULES.items()
    }
    graph["isoinit"] = set()  # hands names out on first use
    users = {name for name, others in graph.items() if "isoinit" in others}
    # which are users, as others are
    commands = ("checkpoints", "commands", "inputs", "widths")
    assert users <= {f"isoinit.cli.{name}" for name in commands}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def writes(call):
    """Whether a call writes a file by itself, as far as its name and its mode tell."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    modes = [each.value for each in given if isinstance(each, ast.Constant)]
    opens = name == "open" and any(re.fullmatch("[rwaxbt+]*[wax+][bt+]*", str(m)) for m in modes)
    return opens or name in ("write_text", "write_bytes", "savetxt", "save_file")


def test_files_are_written_whole_by_one_function():
    """Through `_system.files.whole`: readers see no half of a file, and writers do not meet."""
    found = {
        module(path)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and writes(node)
    }
    assert found == {"isoinit._system.files"}


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=module)
def test_each_room_says_what_lives_there(path):
    assert len((ast.get_docstring(TREES[path]) or "").splitlines()) >= 4


def test_the_reference_names_nothing_private():
    named = [
        name
        for page in (ROOT / "docs" / "reference").glob("*.md")
        for name in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(named) > 50
    assert [name for name in named if "._" in name] == []


def test_no_public_function_hides_the_module_of_its_name():
    for path in FILES:
        if path.name != "__init__.py":
            continue
        handed = {n.name for node in TREES[path].body if isinstance(node, ast.ImportFrom)
                  for n in node.names}  # fmt: skip
        modules = {p.stem for p in path.parent.glob("*.py")} - {"__init__"}
        hidden = {name for name in handed & modules if f"{module(path)}.{name}" in MODULES}
        assert not {n for n in hidden if n not in imported_modules(path)}, path


def imported_modules(path):
    """Names that a package imports as modules: `from isoinit._drawing.haar import reflectors`."""
    return {
        name.name
        for node in TREES[path].body
        if isinstance(node, ast.ImportFrom) and node.module == module(path)
        for name in node.names
    }


def test_tests_mirror_the_rooms():
    rooms = {path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    rooms = {path.parent for path in rooms} - {Path("."), Path("evidence")}
    assert {room for room in rooms if not (HOUSE / room).is_dir()} == set()
