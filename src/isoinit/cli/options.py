"""What commands share: their options, and how they print a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from isoinit.errors import ArgumentError

if TYPE_CHECKING:
    from isoinit._showing.findings import Verdict
    from isoinit._showing.page import Shown


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
        help="package.module:function or path/to/file.py:function. The function takes no "
        "arguments. It returns a model, or (model, batch), or (model, batch, loss).",
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
    typer.Argument(exists=True, dir_okay=False, readable=True, help="A plan that Plan.save wrote."),
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
Method = Annotated[
    str,
    typer.Option(
        help="auto (the rule book), or a method for all weight matrices: zero, random, xavier, he, "
        "lecun, orthogonal, sparse or variational."
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        help="own (the model's own initialization), or that of a paper: paper:gpt2, paper:llama, "
        "paper:bert, paper:vit or paper:resnet."
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


def no_batch(target: str, what: str) -> ArgumentError:
    """Return the error of a command that runs the model and has no batch."""
    return ArgumentError(
        f"{target} returns a model without a batch, and {what} runs the model: return (model, batch)"
    )


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
