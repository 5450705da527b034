"""What users write that a later version of the same major one still takes: docs/stability.md."""

import inspect
import re
from dataclasses import is_dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from typer.main import get_command

import isoinit
from isoinit._planning import rules
from isoinit._planning.recipes import RECIPES
from isoinit._verifying.comparing import METHODS
from isoinit.cli.commands import app

ROOT = Path(__file__).parents[1]
PUBLIC = ["", ".errors", ".functional", ".initializers", ".jax", ".keras", ".lightning"]
PUBLIC += [".checkpoint", ".sparse", ".testing", ".transformers", ".variational"]
NEEDS = {".jax": "jax", ".keras": "keras", ".lightning": "pytorch_lightning"}
NEEDS[".transformers"] = "transformers"
PLAIN = (type(None), bool, int, float, str)
KIND = inspect.Parameter
MARKS = {KIND.POSITIONAL_ONLY: "", KIND.POSITIONAL_OR_KEYWORD: "", KIND.KEYWORD_ONLY: "*"}
MARKS |= {KIND.VAR_POSITIONAL: "**", KIND.VAR_KEYWORD: "***"}
TABLE = re.compile(r"^\| Finding \| Severity \|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", re.MULTILINE)


def promised():
    """Names, arguments with their defaults, options, and words that stand in files and settings."""
    there = [name for name in PUBLIC if name not in NEEDS or find_spec(NEEDS[name])]
    modules = [import_module(f"isoinit{name}") for name in there]
    return {
        "names": {module.__name__: names_of(module) for module in modules},
        "commands": {name: sorted(options(c)) for name, c in get_command(app).commands.items()},
        "methods": sorted({*rules.METHODS, *METHODS}),
        "recipes": sorted(RECIPES),
        "rules": sorted(rule.name for rule in rules.RULES),
        "findings": sorted({*findings()}),
    }


def names_of(module):
    """What a module offers: for each public name what `facts` says of it."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    return {name: facts(getattr(module, name)) for name in sorted(names)}


def facts(value):
    """The arguments of a function; of a class those of its public members, None for what has none.

    An initializer is made by its constructor and given to a plan: what a plan calls is no promise.
    Neither are constructors of dataclasses that verbs return, nor what comes from torch.
    """
    if inspect.ismodule(value):
        return None
    if not inspect.isclass(value):
        return arguments(value)
    if issubclass(value, isoinit.Initializer):
        return {"__init__": arguments(value)}
    own = [each for each in value.__mro__ if each.__module__.startswith("isoinit")]
    members = {
        *getattr(value, "__dataclass_fields__", {}),
        *(n for each in own for n in vars(each)),
    }
    members = sorted(name for name in members if not name.startswith("_"))
    found = {name: arguments(inspect.getattr_static(value, name, None)) for name in members}
    return found if is_dataclass(value) else found | {"__init__": arguments(value)}


def arguments(value):
    """The arguments as they are written, "*" before those by keyword; None for what has none."""
    value = getattr(value, "__func__", value)
    if not callable(value):
        return None
    try:
        given = inspect.signature(value).parameters.values()
    except ValueError:  # of C
        return None
    return [MARKS[p.kind] + p.name + default(p) for p in given if p.name not in ("self", "cls")]


def default(parameter):
    """The default as it is written; the type's name where it is no number, text or None."""
    value = parameter.default
    if value is parameter.empty:
        return ""
    whole = all(isinstance(v, PLAIN) for v in (value if isinstance(value, tuple) else [value]))
    return f"={value!r}" if whole else f"={type(value).__name__}"


def options(command):
    """The options of a command, by their names."""
    for given in command.params:
        yield from (name for name in given.opts if name.startswith("-"))


def findings():
    """The names in the tables of the reference."""
    for page in sorted((ROOT / "docs" / "reference").glob("*.md")):
        for rows in TABLE.findall(page.read_text(encoding="utf-8")):
            for row in rows.splitlines():
                yield from row.split("|")[1].replace("\\", "").strip().split(", ")


def broken(promise, now, at=""):
    """What an older promise has that is no longer so, and where; nothing if all is kept."""
    for name, old in promise.items():
        here = f"{at}.{name}".lstrip(".")
        if name not in now:
            yield f"{here} is gone"
        elif isinstance(old, dict):
            yield from broken(old, now[name] or {}, here)
        elif at.startswith("names") and old is not None:
            yield from (f"{here}: {said}" for said in changed(old, now[name]))
        elif old is not None:
            yield from (f"{here}: {word!r} is gone" for word in old if word not in now[name])


def changed(before, after):
    """What calls of before would not meet: arguments that are gone, moved, other or asked for."""
    if after is None:
        yield "takes no arguments"
        return
    yield from (f"{each} is gone" for each in before if each not in after)
    places = [each for each in before if each[0] != "*" and each in after]
    if places != [each for each in after if each[0] != "*"][: len(places)]:
        yield f"({', '.join(after)}), was ({', '.join(before)})"
    known = {each.partition("=")[0] for each in before}
    for each in after:
        if "=" not in each and each not in known and not each.startswith("**"):
            yield f"{each} is new and must be given"
