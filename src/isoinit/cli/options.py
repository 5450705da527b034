"""What commands share: their options, and how they print a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from isoinit.cli.failures import near_file
from isoinit.errors import ArgumentError, did_you_mean

if TYPE_CHECKING:
    from isoinit._showing.findings import Verdict
    from isoinit._showing.page import Shown


# Written out, because the library's own lists load NumPy or torch: help and completion need neither.
METHODS = "auto zero random xavier he lecun orthogonal sparse variational".split()
RECIPES = "own paper:gpt2 paper:llama paper:bert paper:vit paper:resnet".split()


def _one_of(names: Sequence[str], option: str) -> Callable[[str | None], str | None]:
    """Return what refuses other names, before the model is made."""

    def known(value: str | None) -> str | None:
        if value is not None and value not in names:
            near = did_you_mean(value, names)
            raise ArgumentError(f"{option} {value!r}: expected one of {', '.join(names)}{near}")
        return value

    return known


def _completing(names: Sequence[str]) -> Callable[[str], list[str]]:
    """Return what a shell asks for the names that begin so."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def there(path: Path | None) -> Path | None:
    """Return the path of a file that can be read.

    Raises:
        typer.BadParameter: if there is none.
    """
    if path is not None and path.is_dir():
        raise typer.BadParameter(f"{path} is a directory")
    if path is not None and not path.exists():
        raise typer.BadParameter(f"file {path} does not exist{near_file(path)}")
    return path


def place(path: Path | None) -> Path | None:
    """Return where a file may be written.

    Raises:
        ArgumentError: where it may not.
    """
    from isoinit._showing.page import refuse_place

    if path is not None:
        refuse_place(path)
    return path


Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="package.module:NAME, path/to/file.py:NAME or hf:path/to/config.json. NAME is a "
        "function or a class that takes no arguments, or a model. A function returns a model, or "
        "(model, batch), or (model, batch, loss).",
    ),
]
WidthTarget = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="package.module:function or path/to/file.py:function. The function takes a width. "
        "It returns (model, batch) or (model, batch, loss).",
    ),
]
PlanFile = Annotated[
    Path,
    typer.Argument(callback=there, help="A plan that Plan.save or plan --save wrote."),
]
Seed = Annotated[
    int,
    typer.Option(
        help="The same seed gives the same bits everywhere. It also seeds PyTorch before the "
        "function is called."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Github = Annotated[
    bool, typer.Option("--github", help="Also print each finding as a GitHub Actions annotation.")
]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Also write a self-contained HTML page.",
        callback=place,  # before the work, not after it
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Also exit with 1 for a warning.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Print one row for every layer or parameter.")
]
_METHOD = typer.Option(
    help="auto (the rule book), or a method for all weight matrices: "
    f"{', '.join(METHODS[1:-1])} or {METHODS[-1]}.",
    callback=_one_of(METHODS, "--method"),
    autocompletion=_completing(METHODS),
)
Method = Annotated[str, _METHOD]
MethodOrNone = Annotated[str | None, _METHOD]
Recipe = Annotated[
    str | None,
    typer.Option(
        help="own (the model's own initialization), or that of a paper: "
        f"{', '.join(RECIPES[1:-1])} or {RECIPES[-1]}.",
        callback=_one_of(RECIPES, "--recipe"),
        autocompletion=_completing(RECIPES),
    ),
]
SavedPlan = Annotated[
    Path | None,
    typer.Option(
        "--plan",
        metavar="FILE",
        help="Use this plan, which Plan.save or plan --save wrote.",
        callback=there,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Initialize only parameters that match a name, a glob or role:NAME, and keep the "
        "rest. Give the option once for each pattern.",
    ),
]


def write_page(shown: Shown, path: Path | None) -> None:
    """Write the page of a result, if the user asked for one."""
    if path is not None:
        shown.to_html(path)


def answer(verdict: Verdict, text: str, *, as_json: bool, github: bool, strict: bool) -> NoReturn:
    """Print a verdict as text, and exit with the status that it deserves."""
    if as_json and github:
        raise ArgumentError("--json and --github cannot be combined: choose one of them")
    print(text)
    if github and verdict.findings:
        print(verdict.annotations())
    raise typer.Exit(1 if verdict.failures(strict=strict) else 0)
