"""The verbs as commands: `isoinit demo`, `plan`, `check`, `compare`, `init` and so on.

Exit status: 0 healthy or equal, 1 unhealthy or different; `run` has those of errors. Each command
imports what it runs: help needs no imports, and the rule book no framework.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import isoinit
from isoinit.cli import widths
from isoinit.cli.options import (
    Github,
    Html,
    Json,
    Method,
    Only,
    PlanFile,
    Recipe,
    Seed,
    Strict,
    Target,
    Verbose,
    answer,
    no_batch,
    place,
    write_page,
)
from isoinit.cli.targets import call_target, find_target, load_target
from isoinit.errors import Interrupted, escaped

if TYPE_CHECKING:
    from torch import nn

app = typer.Typer(
    help="Plan, apply and verify the initial parameters of neural networks.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


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

    from isoinit import demo as demonstration

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
    html: Html = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show the initializer of every parameter and the reason for it. Changes nothing."""
    model, batch, _ = load_target(target, seed)
    chosen = isoinit.plan(model, batch, method=method, recipe=recipe, only=only)
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
def rules(as_json: Json = False) -> None:
    """Print the rule book: the condition, formula, reason and paper of every rule."""
    from isoinit._planning import rules as rule_book

    print(rule_book.to_json() if as_json else rule_book.to_markdown())


@app.command()
def check(
    target: Target,
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
    """Measure signal and gradient through the model that the function returns.

    Exits with 1 if the model is unhealthy.
    """
    model, batch, loss = load_target(target, seed)
    if batch is None:
        raise no_batch(target, "check")
    health = isoinit.check(model, batch, loss=loss, lr=lr, optimizer=optimizer)
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

    function = find_target(target)
    _, batch, loss = call_target(function, target, seed)
    if batch is None:
        raise no_batch(target, "compare")
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
    function = find_target(target)
    found = isoinit.audit(lambda: call_target(function, target).model, seed=seed)
    write_page(found, html)
    text = found.to_json() if as_json else str(found)
    answer(found, text, as_json=as_json, github=github, strict=strict)


@app.command()
def init(
    target: Target,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")],
    method: Method = "auto",
    recipe: Recipe = None,
    only: Only = None,
    seed: Seed = 0,
    max_shard_size: Annotated[
        str, typer.Option(help="The largest size of one file, such as 5GB or 1GiB.")
    ] = "5GB",
    file_format: Annotated[
        str, typer.Option("--format", help="safetensors, or dcp for torch.distributed.checkpoint.")
    ] = "safetensors",
    check: Annotated[
        bool, typer.Option("--check", help="Also apply the plan in memory and check the model.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a model's initial parameters to a checkpoint, without the model in memory.

    Run the command again to continue an interrupted write.
    Under torchrun the processes divide the work.
    """
    from isoinit._showing.progress import bytes_shown
    from isoinit._system.processes import joined, rank_and_size, together

    with joined():
        rank, _ = rank_and_size()
        with together("planning the model"):
            with isoinit.deferred():
                model, batch, loss = load_target(target, seed)
            if check:
                _refuse_unrunnable(target, model, batch)
            chosen = isoinit.plan(model, batch, method=method, recipe=recipe, only=only)
        with bytes_shown("writing", visible=rank == 0 and not as_json) as progress:
            written = isoinit.write_checkpoint(
                chosen,
                model,
                out,
                seed,
                max_shard_size=max_shard_size,
                format=file_format,
                progress=progress,
            )
    if rank > 0:
        return
    health = isoinit.check(chosen.apply(model, seed), batch, loss=loss) if check else None
    if as_json:
        ok = None if health is None else health.ok
        print(json.dumps({**asdict(written), "directory": str(out), "ok": ok}, indent=1))
    else:
        print(written)
        for line in [*chosen.warnings, *([] if health is None else map(str, health.findings))]:
            print(f"  {line}")
    raise typer.Exit(0 if health is None or health.ok else 1)


@app.command()
def verify(
    directory: Annotated[Path, typer.Argument(help="The folder of a checkpoint.")],
    plan_file: Annotated[
        Path | None,
        typer.Option(
            "--plan",
            exists=True,
            dir_okay=False,
            help="A plan that Plan.save wrote.",
            show_default="the plan stored in the checkpoint",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The seed of the values.", show_default="the seed stored in the checkpoint"
        ),
    ] = None,
    as_json: Json = False,
    github: Github = False,
    strict: Strict = False,
) -> None:
    """Compare a checkpoint bit for bit with the values that its plan draws.

    Exits with 1 if they differ.
    """
    chosen = None if plan_file is None else isoinit.Plan.load(plan_file)
    found = isoinit.verify_checkpoint(directory, chosen, seed)
    text = found.to_json() if as_json else str(found)
    answer(found, text, as_json=as_json, github=github, strict=strict)


def _refuse_unrunnable(target: str, model: nn.Module, batch: Any) -> None:
    """Raise if the files could be written but not checked."""
    from isoinit._reading.torch import named_parameters
    from isoinit._writing.refusals import refuse_unready

    if batch is None:
        raise no_batch(target, "--check")
    refuse_unready(named_parameters(model)[0], now=True)
