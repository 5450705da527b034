"""The verbs as commands: `isoinit demo`, `plan`, `check`, `compare`, `init` and so on.

Exit status: 0 healthy or equal, 1 unhealthy or different; `run` has those of errors. Each command
imports what it runs: help needs no imports, and the rule book no framework.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import isoinit
from isoinit.cli import checkpoints, widths
from isoinit.cli.inputs import batch_for, plan_for, refuse_two_plans
from isoinit.cli.options import (
    Github,
    Html,
    Json,
    Method,
    MethodOrNone,
    Only,
    PlanFile,
    Recipe,
    SavedPlan,
    Seed,
    Strict,
    Target,
    Verbose,
    answer,
    place,
    write_page,
)
from isoinit.cli.targets import call_target, find_target, load_target, refuse_model
from isoinit.errors import ArgumentError, Interrupted, escaped

app = typer.Typer(
    help="Plan, apply and verify the initial parameters of neural networks.",
    epilog="Exit status: 0 done, or healthy; 1 a finding or a difference; 2 an argument, file, model "
    "or target that can't be used; 130 Ctrl-C; 141 the reader of the output has ended.",
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"isoinit {isoinit.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Take what all commands have: their own options come behind their name."""


@app.command()
def demo(
    seed: Seed = 0,
    as_json: Json = False,
    picture: Annotated[
        Path, typer.Option(help="The PNG file for the plot of signal by depth.", callback=place)
    ] = Path("isoinit-demo.png"),
) -> None:
    """Train a 30-layer network on handwritten digits, from torch's default and from a plan.

    Plots the signal by depth. Exits with 1 if the planned network is unhealthy.
    """
    from rich.console import Console

    from isoinit.cli import demo as demonstration

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
        print(f"signal by depth: {escaped(str(outcome.picture))}")
    raise typer.Exit(0 if outcome.planned_health.ok else 1)


@app.command()
def plan(
    target: Target,
    method: Method = "auto",
    recipe: Recipe = None,
    only: Only = None,
    seed: Seed = 0,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also save the plan as JSON.", callback=place),
    ] = None,
    html: Html = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show the initializer of every parameter and the reason for it. Changes nothing.

    A saved plan is for isoinit check --plan, init --plan and diff.
    """
    model, batch, _ = load_target(target, seed)
    chosen = isoinit.plan(model, batch, method=method, recipe=recipe, only=only)
    if save is not None:
        chosen.save(save)
    write_page(chosen, html)
    print(chosen.to_json() if as_json else chosen.show(verbose=verbose))


@app.command()
def diff(before: PlanFile, after: PlanFile, html: Html = None, as_json: Json = False) -> None:
    """Show the differences between two saved plans. Exits with 1 if there are any."""
    found = isoinit.Plan.load(before).diff(isoinit.Plan.load(after))
    write_page(found, html)
    print(found.to_json() if as_json else found)
    raise typer.Exit(1 if found else 0)


@app.command()
def graph(target: Target, seed: Seed = 0, html: Html = None, as_json: Json = False) -> None:
    """Show the layers of a model, the functions between them and the residual sums.

    Changes nothing.
    """
    model, batch, _ = load_target(target, seed)
    found = isoinit.read(model, batch)
    write_page(found, html)
    print(found.to_json() if as_json else found)


@app.command()
def explain(
    target: Target,
    name: Annotated[str, typer.Argument(help="The parameter's name.")],
    method: Method = "auto",
    recipe: Recipe = None,
    seed: Seed = 0,
) -> None:
    """Explain the initializer of one parameter: its input, the rule, and the formula.

    Changes nothing.
    """
    model, batch, _ = load_target(target, seed)
    print(isoinit.plan(model, batch, method=method, recipe=recipe).explain(name))


@app.command()
def rules(
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """Print the rule book: the condition, formula and paper of every rule.

    --markdown and --json also have the reasons.
    """
    from isoinit._planning import rules as rule_book

    if as_json and markdown:
        raise ArgumentError("--json and --markdown cannot be combined: choose one of them")
    if markdown:
        print(rule_book.to_markdown())
    else:
        print(rule_book.to_json() if as_json else rule_book.shown())


@app.command()
def check(
    target: Target,
    plan_file: SavedPlan = None,
    method: MethodOrNone = None,
    recipe: Recipe = None,
    only: Only = None,
    seed: Seed = 0,
    html: Html = None,
    as_json: Json = False,
    github: Github = False,
    strict: Strict = False,
    lr: Annotated[
        float | None,
        typer.Option(
            help="A learning rate: also compare the size of the first step with the weights."
        ),
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="The optimizer of that step: adam or sgd.")
    ] = "adam",
    verbose: Verbose = False,
) -> None:
    """Measure signal and gradient through the model, as the target gives it.

    With --plan, --method, --recipe or --only, the model is initialized first, with --seed.

    Exits with 1 if the model is unhealthy.
    """
    refuse_two_plans(plan_file, method, recipe, only)
    model, batch, loss = load_target(target, seed)
    batch = batch_for(target, model, batch, "check")
    chosen = None
    if any(each is not None for each in (plan_file, method, recipe)) or only:
        chosen = plan_for(model, batch, plan_file, method, recipe, only)
        chosen.apply(model, seed)
    health = isoinit.check(model, batch, loss=loss, plan=chosen, lr=lr, optimizer=optimizer)
    write_page(health, html)
    text = health.to_json() if as_json else health.show(verbose=verbose)
    answer(health, text, as_json=as_json, github=github, strict=strict)


@app.command()
def compare(
    target: Target,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Names separated by commas: default (the constructor's values), plan, or any "
            "of the eight methods.",
            show_default="all",
        ),
    ] = None,
    only: Only = None,
    steps: Annotated[int, typer.Option(help="Training steps in each run.")] = 200,
    seeds: Annotated[int, typer.Option(help="Training runs of each method.")] = 3,
    seed: Seed = 0,
    lr: Annotated[float, typer.Option(help="The learning rate.")] = 1e-3,
    optimizer: Annotated[str, typer.Option(help="The optimizer: adam or sgd.")] = "adam",
    html: Html = None,
    as_json: Json = False,
) -> None:
    """Initialize a model in several ways, check each, and train each for some steps.

    Trains on the batch with the given loss, or else with the model's own.
    Without either, the model is trained to memorize fixed noise.

    Ctrl-C ends the command early. It then prints the results so far and exits with 130.
    """
    from isoinit._verifying.comparing import METHODS

    function = find_target(target, seed)
    model, batch, loss = call_target(function, target, seed)
    batch = batch_for(target, model, batch, "compare")
    try:
        found = isoinit.compare(
            lambda: call_target(function, target).model,
            batch,
            METHODS if methods is None else [name.strip() for name in methods.split(",")],
            steps,
            loss=loss,
            seeds=range(seed, seed + seeds),
            optimizer=optimizer,
            lr=lr,
            only=only,
        )
    except Interrupted as stop:
        found = stop.done
    write_page(found, html)
    print(found.to_json() if as_json else found)
    raise typer.Exit(0 if found.complete else 130)


app.command()(widths.transfer)
app.command()(widths.coordinates)


@app.command()
def audit(
    target: Target,
    seed: Seed = 0,
    html: Html = None,
    as_json: Json = False,
    github: Github = False,
    strict: Strict = False,
) -> None:
    """Find tensors that a model's own initialization does not write on the meta device.

    Exits with 1 if there are any.
    """
    function = find_target(target, seed)
    refuse_model(function, target, "audit")
    found = isoinit.audit(lambda: call_target(function, target).model, seed=seed)
    write_page(found, html)
    text = found.to_json() if as_json else str(found)
    answer(found, text, as_json=as_json, github=github, strict=strict)


app.command()(checkpoints.init)
app.command()(checkpoints.verify)
