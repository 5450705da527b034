"""The commands that write and read checkpoints: `isoinit init` and `isoinit verify`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import isoinit
from isoinit.cli.inputs import batch_for, plan_for, refuse_two_plans
from isoinit.cli.options import (
    Github,
    Json,
    Method,
    Only,
    Recipe,
    SavedPlan,
    Seed,
    Strict,
    Target,
    Verbose,
    answer,
    there,
)
from isoinit.cli.targets import load_target

if TYPE_CHECKING:
    from isoinit._verifying.health.results import Health


def init(
    target: Target,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")],
    plan_file: SavedPlan = None,
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
    from isoinit._reading.torch import named_parameters
    from isoinit._showing.progress import bytes_shown
    from isoinit._system.processes import joined, rank_and_size, together
    from isoinit._writing.refusals import refuse_unready

    refuse_two_plans(plan_file, method, recipe, only)
    with joined():
        rank, _ = rank_and_size()
        with together("planning the model"):
            with isoinit.deferred():
                model, batch, loss = load_target(target, seed)
            if check:  # before files are written that could not be checked
                batch = batch_for(target, model, batch, "--check")
                refuse_unready(named_parameters(model)[0], now=True)
            chosen = plan_for(model, batch, plan_file, method, recipe, only)
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
    _tell(written, chosen.warnings, health, out, as_json)
    raise typer.Exit(0 if health is None or health.ok else 1)


def _tell(
    written: isoinit.Written,
    warnings: list[str],
    health: Health | None,
    out: Path,
    as_json: bool,
) -> None:
    """Print what was written, and what is doubtful about it."""
    if as_json:
        ok = None if health is None else health.ok
        print(json.dumps({**asdict(written), "directory": str(out), "ok": ok}, indent=1))
        return
    print(written)
    for line in [*warnings, *([] if health is None else map(str, health.findings))]:
        print(f"  {line}")


def verify(
    directory: Annotated[Path, typer.Argument(help="The folder of a checkpoint.")],
    plan_file: Annotated[
        Path | None,
        typer.Option(
            "--plan",
            metavar="FILE",
            callback=there,
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
    verbose: Verbose = False,
) -> None:
    """Compare a checkpoint bit for bit with the values that its plan draws.

    Exits with 1 if they differ.
    """
    chosen = None if plan_file is None else isoinit.Plan.load(plan_file)
    found = isoinit.verify_checkpoint(directory, chosen, seed)
    text = found.to_json() if as_json else found.show(verbose=verbose)
    answer(found, text, as_json=as_json, github=github, strict=strict)
