"""The commands over several widths of one model: `isoinit transfer` and `isoinit coordinates`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import isoinit
from isoinit.cli.inputs import batch_for
from isoinit.cli.options import (
    Github,
    Html,
    Json,
    Seed,
    Strict,
    Verbose,
    WidthTarget,
    answer,
    place,
    write_page,
)
from isoinit.cli.targets import Loaded, call_target, find_target, refuse_model
from isoinit.errors import ArgumentError

if TYPE_CHECKING:
    from torch import nn

Optimizer = Annotated[str, typer.Option(help="The optimizer: adamw, adam, sgd or muon.")]


def transfer(
    target: WidthTarget,
    base: Annotated[int, typer.Option("--base", help="The width at which you tune.")],
    to: Annotated[int, typer.Option("--target", help="The width that you train.")],
    optimizer: Optimizer = "adamw",
    decay: Annotated[
        str, typer.Option(help="The rule of weight decay by width: mup, constant or sqrt.")
    ] = "mup",
    depth: Annotated[
        str,
        typer.Option(help="The rule of residual branches by depth: completep, mup or none."),
    ] = "completep",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Also save the plan as JSON.", callback=place
        ),
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Show the factors of scales and learning rates from a smaller model. Changes nothing.

    Calls the function with both widths.
    """
    build, loaded = _built(target, base, seed)
    found = isoinit.transfer(
        build,
        base=base,
        target=to,
        batch=loaded.batch,
        optimizer=optimizer,
        decay=decay,
        depth=None if depth == "none" else depth,
    )
    if out is not None:
        found.plan.save(out)
    print(found.plan.to_json() if as_json else found)


def coordinates(
    target: WidthTarget,
    widths: Annotated[
        str, typer.Option(help="Three or more widths separated by commas.")
    ] = "64,128,256,512",
    base: Annotated[
        int | None,
        typer.Option(
            help="The width that settings are transferred from.", show_default="the first"
        ),
    ] = None,
    optimizer: Optimizer = "adamw",
    lr: Annotated[float, typer.Option(help="The learning rate at the base width.")] = 2e-3,
    steps: Annotated[int, typer.Option(help="Training steps in each run.")] = 3,
    seeds: Annotated[int, typer.Option(help="Training runs at each width.")] = 2,
    seed: Seed = 0,
    standard: Annotated[
        bool,
        typer.Option("--standard", help="Use one learning rate for all widths, without transfer."),
    ] = False,
    html: Html = None,
    as_json: Json = False,
    github: Github = False,
    strict: Strict = False,
    verbose: Verbose = False,
) -> None:
    """Train a model for a few steps at several widths and compare how much each layer changes.

    Exits with 1 if the change of a layer grows or shrinks with the width.
    """
    numbers = _numbers(widths)
    build, loaded = _built(target, numbers[0], seed)
    batch = batch_for(target, loaded.model, loaded.batch, "coordinates")
    found = isoinit.coordinates(
        build,
        numbers,
        base,
        batch,
        loss=loaded.loss,
        optimizer=optimizer,
        lr=lr,
        steps=steps,
        seeds=range(seed, seed + seeds),
        parametrization="standard" if standard else "transfer",
    )
    write_page(found, html)
    text = found.to_json() if as_json else found.show(verbose=verbose)
    answer(found, text, as_json=as_json, github=github, strict=strict)


def _built(target: str, width: int, seed: int) -> tuple[Callable[[int], nn.Module], Loaded]:
    """What makes a model of a width, and what the function returns for one."""
    function = find_target(target, seed)
    refuse_model(function, target, "this command")

    def build(width: int) -> nn.Module:
        return call_target(function, target, None, width).model

    return build, call_target(function, target, seed, width)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ArgumentError(
            f"--widths {text!r}: expected integers separated by commas, such as 64,128,256"
        ) from None
