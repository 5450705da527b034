"""Runs a model's own initialization once more, on memory of its own, and sees what it wrote.

Every parameter is replaced by a twin on the processor that starts as poison, a NaN that no
initializer makes. Random fills are postponed, as under `isoinit.deferred`, so that what is seen of
them is the call and its numbers, and memory for the large parameters is never taken. Everything
else is run: constants, tables, values computed from other values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from isoinit._reading.torch.isolate import untouched
from isoinit._reading.torch.names import named_parameters, unwrap
from isoinit._reading.torch.rng import seed_generators
from isoinit._system.collecting import uncollected
from isoinit._writing.deferred import RANDOM, deferred, is_deferring
from isoinit._writing.own_init import (
    CONSTRUCTORS,
    OWN,
    Call,
    constructor_of,
    forget_marks,
    is_pretrained,
    own_call,
    own_calls,
)
from isoinit._writing.poison import poison
from isoinit._writing.postponed import Write, forget, postpone, writes_left
from isoinit.errors import PlanError

# What a constructor may do to parameters besides random fills.
FILLS = frozenset("constant_ zeros_ ones_ eye_ dirac_ fill_ zero_ copy_".split())


@dataclass(frozen=True)
class Seen:
    """What a model's own initialization did to one parameter.

    Attributes:
        writes: the calls that fill it, still to be run; empty if they have been.
        values: what it held afterwards, where nothing was left to run; poison where nothing wrote.
        by: what wrote it last: its layer's constructor or the model's own method.
    """

    writes: tuple[Write, ...]
    values: torch.Tensor | None
    by: str


def unseen(model: nn.Module) -> tuple[str, ...]:
    """What the constructors of a model's own classes fill, and no method does: it is not run again.

    A look at the names that such a constructor mentions: enough for a warning, and for no more.
    """
    found: dict[str, str] = {}
    inside: set[int] = set()
    for module in unwrap(model).modules():
        kind = type(module)
        if id(module) in inside or kind.__module__.startswith("torch."):
            continue
        if is_pretrained(module) or own_call(module) or constructor_of(module):
            inside.update(map(id, module.modules()))
            continue
        code = getattr(kind.__init__, "__code__", None)
        fills = [n for n in (code.co_names if code else ()) if n in RANDOM | FILLS]
        if fills:
            found[kind.__name__] = ", ".join(dict.fromkeys(fills))
    return tuple(
        f"the constructor of {kind} fills parameters itself ({fills}); it cannot be run again, so "
        "recipe='own' gives what the layers' own constructors give"
        for kind, fills in found.items()
    )


@uncollected()
def rerun(model: nn.Module, seed: int) -> dict[str, Seen]:
    """Run a model's own initialization on memory of its own; the model is left as it was.

    Args:
        model: on any device, meta too.
        seed: for torch's, NumPy's and Python's generators during the run.

    Returns:
        What was seen of each parameter, by name.

    Raises:
        PlanError: if the model has no initialization of its own, or it fails; inside a block of
            `isoinit.deferred`, which would take the fills for its own.
    """
    if is_deferring():
        raise PlanError(
            "recipe='own' was used inside isoinit.deferred(), which postpones the fills that this "
            "recipe must observe. Plan the model after the block; nothing was changed"
        )
    twins: dict[int, nn.Parameter] = {}

    def lend(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            return torch.zeros_like(tensor, device="cpu") if tensor.is_meta else _copy(tensor)
        twin = nn.Parameter(_memory(tensor), requires_grad=tensor.requires_grad)
        postpone(twin, poison)
        twins[id(tensor)] = twin
        return twin

    parameters, _ = named_parameters(model)
    with untouched(model, lend), torch.device("cpu"), torch.no_grad():
        forget_marks(model)
        layers, models = own_calls(model)
        if not layers and not models:
            raise PlanError(
                f"recipe='own': {type(unwrap(model)).__name__} has no initialization of its own: "
                f"no module has a method {', '.join(OWN + CONSTRUCTORS[:1])}. Plan it without a "
                "recipe; nothing was changed"
            )
        seed_generators(seed)
        owners = {
            id(p): m for m in model.modules() for p in m._parameters.values() if p is not None
        }
        _run(layers)
        before = {key: _state(twin) for key, twin in twins.items()}
        _run(models)
        names = " and ".join(dict.fromkeys(call.name for call in models))
        found = {}
        for name, parameter in parameters.items():
            twin = twins[id(parameter)]
            by = f"{type(owners[id(twin)]).__name__}'s own constructor"
            if _state(twin) != before[id(parameter)]:
                by = f"the model's own {names}"
            writes = tuple(writes_left(twin))
            found[name] = Seen(writes, None if writes else twin.detach(), by)
        forget(twins.values())
    return found


def is_poison(write: Write) -> bool:
    """Whether a postponed write is the poison that a parameter started with."""
    return write.function is poison


def _memory(tensor: torch.Tensor) -> torch.Tensor:
    """Memory on the processor for a twin of a parameter, which is taken when it is written to."""
    try:
        return torch.empty(tuple(tensor.shape), dtype=tensor.dtype, device="cpu")
    except RuntimeError as failure:  # torch's way to say that there is none
        raise PlanError(
            "recipe='own': not enough memory to run the initialization of a parameter of shape "
            f"{tuple(tensor.shape)}; nothing was changed"
        ) from failure


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True)


def _state(twin: nn.Parameter) -> tuple[list[Write], int]:
    return writes_left(twin), twin._version


def _run(calls: list[Call]) -> None:
    with deferred():
        for call in calls:
            try:
                call.run()
            except Exception as error:
                raise PlanError(
                    f"recipe='own': the model's own {call.name} failed: {type(error).__name__}: "
                    f"{error}. Plan the model without a recipe, or fix this method; nothing was "
                    "changed"
                ) from error
