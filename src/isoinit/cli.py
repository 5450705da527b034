"""The verbs as commands: `isoinit demo`, `plan`, `diff`, `check`, `audit`, `init`.

Exit status: 0 healthy or equal, 1 unhealthy or different, 2 wrong use.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NoReturn, cast

import torch
import typer
from rich.console import Console
from torch import nn

from isoinit import demo as demonstration
from isoinit import rules as rule_book
from isoinit.auditing import audit as audit_model
from isoinit.errors import ArgumentError, IsoinitError
from isoinit.findings import Verdict
from isoinit.health import check as check_model
from isoinit.plans import Plan
from isoinit.trace import named_parameters
from isoinit.verbs import plan as plan_model
from isoinit.verbs import read as read_model

app = typer.Typer(
    help="Plan, apply and verify the initial parameters of neural networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="package.module:function or path/to/file.py:function; the function takes nothing and "
        "returns a model, or a model and an example batch.",
    ),
]
PlanFile = Annotated[
    Path,
    typer.Argument(exists=True, dir_okay=False, readable=True, help="What Plan.save wrote."),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same bits everywhere.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Github = Annotated[
    bool, typer.Option("--github", help="Add a line a finding that GitHub Actions shows.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit status 1 for warnings too.")]
Method = Annotated[
    str,
    typer.Option(help="auto, or one of zero random xavier he lecun orthogonal sparse variational."),
]
Recipe = Annotated[
    str | None,
    typer.Option(help="own, or one of paper:gpt2 paper:llama paper:bert paper:vit paper:resnet."),
]


@app.command()
def demo(
    seed: Seed = 0,
    as_json: Json = False,
    picture: Annotated[Path, typer.Option(help="Where to draw the signal by depth.")] = Path(
        "isoinit-demo.png"
    ),
) -> None:
    """Train a 30-layer network on handwritten digits, from torch's default and from a plan."""
    outcome = demonstration.run(seed, picture, Console(quiet=as_json))
    result = {
        "default_accuracy": outcome.default_accuracy,
        "planned_accuracy": outcome.planned_accuracy,
        "default_healthy": outcome.default_health.ok,
        "planned_healthy": outcome.planned_health.ok,
        "picture": str(outcome.picture),
    }
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        print("accuracy on held-out digits (chance is 10 %)")
        print(f"  torch's default  {outcome.default_accuracy:6.1%}")
        print(f"  isoinit's plan   {outcome.planned_accuracy:6.1%}")
        print(f"signal by depth: {outcome.picture}")
    raise typer.Exit(0 if outcome.planned_health.ok else 1)


@app.command()
def plan(
    target: Target,
    method: Method = "auto",
    recipe: Recipe = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Show what every parameter of a model would get, and why. Changes nothing."""
    model, batch = load_target(target, seed)
    chosen = plan_model(model, batch, method=method, recipe=recipe)
    print(chosen.to_json() if as_json else chosen)


@app.command()
def diff(before: PlanFile, after: PlanFile, as_json: Json = False) -> None:
    """Show what two saved plans give differently. Exit status 1: they differ."""
    found = Plan.load(before).diff(Plan.load(after))
    print(found.to_json() if as_json else found)
    raise typer.Exit(1 if found else 0)


@app.command()
def graph(target: Target, seed: Seed = 0, as_json: Json = False) -> None:
    """Show what is read of a model: its layers, and the functions between them. Changes nothing."""
    model, batch = load_target(target, seed)
    found = read_model(model, batch)
    print(found.to_json() if as_json else found)


@app.command()
def explain(
    target: Target,
    name: Annotated[str, typer.Argument(help="The parameter's name.")],
    method: Method = "auto",
    recipe: Recipe = None,
    seed: Seed = 0,
) -> None:
    """Tell why one parameter gets what it gets: the whole chain, from what feeds it to the formula."""
    model, batch = load_target(target, seed)
    print(plan_model(model, batch, method=method, recipe=recipe).explain(name))


@app.command()
def rules(as_json: Json = False) -> None:
    """Print the rule book: every rule with its condition, formula, reason and paper."""
    print(rule_book.to_json() if as_json else rule_book.to_markdown())


@app.command()
def check(
    target: Target,
    seed: Seed = 0,
    as_json: Json = False,
    github: Github = False,
    strict: Strict = False,
    lr: Annotated[
        float | None, typer.Option(help="Compare the first step with the weights.")
    ] = None,
    optimizer: Annotated[str, typer.Option(help="What makes that step: adam or sgd.")] = "adam",
) -> None:
    """Measure the signal through a model as the function returns it. Exit status 1: unhealthy."""
    model, batch = load_target(target, seed)
    if batch is None:
        raise ArgumentError(
            f"{target} returns a model without a batch; check runs the model, so return (model, "
            "batch)"
        )
    health = check_model(model, batch, lr=lr, optimizer=optimizer)
    _answer(health, as_json=as_json, github=github, strict=strict)


@app.command()
def audit(
    target: Target,
    seed: Seed = 0,
    as_json: Json = False,
    github: Github = False,
    strict: Strict = False,
) -> None:
    """Find what a model's own initialization forgets on the meta device. Exit status 1: something."""
    function = find_target(target)
    found = audit_model(lambda: _call(function, target)[0], seed=seed)
    _answer(found, as_json=as_json, github=github, strict=strict)


@app.command()
def init(
    target: Target,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The safetensors file to write.", dir_okay=False)
    ],
    method: Method = "auto",
    recipe: Recipe = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Plan a model, apply the plan, and write its parameters and buffers to a file."""
    from safetensors.torch import save_model

    if not out.parent.is_dir():
        raise ArgumentError(f"--out {out}: the folder {out.parent} does not exist; create it first")
    model, batch = load_target(target, seed)
    chosen = plan_model(model, batch, method=method, recipe=recipe)
    chosen.apply(model, seed)
    partial = out.with_name(f".{out.name}.partial")  # never half a file under the final name
    save_model(model, str(partial), {"isoinit_seed": str(seed), "isoinit_method": recipe or method})
    partial.replace(out)
    health = None if batch is None else check_model(model, batch)
    parameters, _ = named_parameters(model)
    count = sum(parameter.numel() for parameter in parameters.values())
    if as_json:
        ok = None if health is None else health.ok
        print(json.dumps({"file": str(out), "parameters": count, "seed": seed, "ok": ok}, indent=1))
    else:
        print(f"{out}: {count:,} parameters, seed {seed}")
        for line in [*chosen.warnings, *([] if health is None else map(str, health.findings))]:
            print(f"  {line}")
    raise typer.Exit(0 if health is None or health.ok else 1)


def _answer(verdict: Verdict, *, as_json: bool, github: bool, strict: bool) -> NoReturn:
    """Print a verdict, and exit with the status that it deserves."""
    if as_json and github:
        raise ArgumentError("--json and --github: JSON holds nothing else, so choose one of them")
    print(verdict.to_json() if as_json else verdict)
    if github and verdict.findings:
        print(verdict.annotations())
    raise typer.Exit(1 if verdict.failures(strict=strict) else 0)


def load_target(target: str, seed: int = 0) -> tuple[nn.Module, Any]:
    """Import a target and call it.

    Args:
        target: `package.module:function` or `path/to/file.py:function`.
        seed: given to `torch.manual_seed` before the call, so that the model and the batch that
            the function makes repeat.

    Returns:
        The model, and the batch or None.

    Raises:
        ArgumentError: if it does not import, fails, or returns something else.
    """
    function = find_target(target)
    torch.manual_seed(seed)
    return _call(function, target)


def find_target(target: str) -> Callable[[], Any]:
    """Import a target, and do not call it.

    Raises:
        ArgumentError: if it does not import.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise ArgumentError(
            f"TARGET {target!r}: expected package.module:function or path/to/file.py:function"
        )
    function = getattr(_import(place, target), name, None)
    if not callable(function):
        raise ArgumentError(f"TARGET {target!r}: {place} has no function called {name!r}")
    return cast("Callable[[], Any]", function)


def _call(function: Callable[[], Any], target: str) -> tuple[nn.Module, Any]:
    """What a target's function returns: a model, and a batch or None."""
    name = target.rpartition(":")[2]
    try:
        made = function()
    except Exception as error:
        raise ArgumentError(
            f"TARGET {target!r}: calling {name}() failed: {type(error).__name__}: {error}; expected "
            "a function without arguments"
        ) from error
    model, batch = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"TARGET {target!r}: {name}() returned a {type(made).__name__}; expected a "
            "torch.nn.Module, or a tuple of a model and a batch"
        )
    return model, batch


def _import(place: str, target: str) -> ModuleType:
    try:
        if place.endswith(".py"):
            path = Path(place)
            if not path.is_file():
                raise ArgumentError(f"TARGET {target!r}: there is no file {place}")
            # Under a name of its own, so that a file called random.py replaces nothing.
            name = f"isoinit_target_{path.stem}"
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            sys.path.insert(0, str(path.parent.resolve()))
            spec.loader.exec_module(module)
            return module
        sys.path.insert(0, "")
        return importlib.import_module(place)
    except IsoinitError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"TARGET {target!r}: importing {place} failed: {type(error).__name__}: {error}"
        ) from error


def main() -> None:
    """Run the command line; isoinit's own errors end with one line and exit status 2."""
    try:
        app()
    except IsoinitError as error:
        print(f"isoinit: {error}", file=sys.stderr)
        sys.exit(2)
