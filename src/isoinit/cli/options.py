"""What commands share: their options, and how they answer."""

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
        help="package.module:function or path/to/file.py:function; the function takes nothing and "
        "returns a model, or a model and an example batch, or these and a loss of its output.",
    ),
]
WidthTarget = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="package.module:function or path/to/file.py:function; the function takes a width and "
        "returns a model and an example batch, or these and a loss of its output.",
    ),
]
PlanFile = Annotated[
    Path,
    typer.Argument(exists=True, dir_okay=False, readable=True, help="What Plan.save wrote."),
]
Seed = Annotated[
    int,
    typer.Option(
        help="The same seed gives the same bits everywhere. The default is fixed, so that the same "
        "command gives the same result, and a stopped one goes on."
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
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="A row for every one, none folded.")]
Method = Annotated[
    str,
    typer.Option(help="auto, or one of zero random xavier he lecun orthogonal sparse variational."),
]
Recipe = Annotated[
    str | None,
    typer.Option(help="own, or one of paper:gpt2 paper:llama paper:bert paper:vit paper:resnet."),
]

Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Initialize only what a name, a glob or a role:… matches, and keep the rest; once for "
        "each pattern.",
    ),
]


def no_batch(target: str, what: str) -> ArgumentError:
    """Return the error of a command that runs the model, and was given no batch."""
    return ArgumentError(
        f"{target} returns a model without a batch; {what} runs the model, so return (model, batch)"
    )


def write_page(shown: Shown, path: Path | None) -> None:
    """Write the page of a result, where one was asked for."""
    if path is not None:
        shown.to_html(path)


def answer(verdict: Verdict, text: str, *, as_json: bool, github: bool, strict: bool) -> NoReturn:
    """Print a verdict as text, and exit with the status that it deserves."""
    if as_json and github:
        raise ArgumentError("--json and --github: JSON holds nothing else, so choose one of them")
    print(text)
    if github and verdict.findings:
        print(verdict.annotations())
    raise typer.Exit(1 if verdict.failures(strict=strict) else 0)
