"""Runs a model's own initialization once more, on memory of its own, and sees what it wrote.

Every parameter is replaced by a twin on the processor that starts as poison, a NaN that no
initializer makes. Random fills are postponed, as under `isoinit.deferred`, so that what is seen of
them is the call and its numbers, and memory for the large parameters is never taken. Everything
else is run: constants, tables, values computed from other values.
"""

from __future__ import annotations

import functools
import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from isoinit.errors import PlanError
from isoinit.postpone import RANDOM, Write, deferred, forget, is_deferring, postpone, writes_left
from isoinit.trace.isolate import untouched
from isoinit.trace.names import named_parameters, unwrap

# What torch's layers call at the end of their constructors.
CONSTRUCTORS = ("reset_parameters", "_reset_parameters")
# What models call their own initialization; the first that is there counts.
OWN = ("init_weights", "_init_weights", "initialize_weights", "_initialize_weights")

# What a constructor may do to parameters besides random fills.
FILLS = frozenset("constant_ zeros_ ones_ eye_ dirac_ fill_ zero_ copy_".split())

# Quiet NaNs with a payload, by type: arithmetic on them gives NaN again.
_POISON: dict[torch.dtype, tuple[torch.dtype, int]] = {
    torch.float64: (torch.int64, 0x7FF8150171501715),
    torch.float32: (torch.int32, 0x7FC15017),
    torch.bfloat16: (torch.int16, 0x7FD1),
    torch.float16: (torch.int16, 0x7E51),
}


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


@dataclass(frozen=True)
class Call:
    """One call of an initialization that a model has."""

    name: str
    run: Callable[[], Any]


def poison(region: torch.Tensor) -> None:
    """Fill with a NaN that no initializer makes."""
    whole, bits = _POISON[region.dtype]
    region.detach().view(whole).fill_(bits)


def own_calls(model: nn.Module) -> tuple[list[Call], list[Call]]:
    """What initializes a model: the layers' own `reset_parameters`, then what the model adds.

    That is the order of construction: a layer fills itself when it is made, and the model goes over
    its layers when all are there. Children come before parents.
    """
    layers: list[Call] = []
    models: list[Call] = []
    _collect(unwrap(model), set(), layers, models, inside=False)
    return layers, models


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
        if _is_pretrained(module) or _own_call(module) or _constructor(module):
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
            "recipe='own' was asked for inside isoinit.deferred(), which postpones the very fills "
            "that are to be seen; plan the model after the block. Nothing was changed"
        )
    twins: dict[int, nn.Parameter] = {}

    def lend(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            return torch.zeros_like(tensor, device="cpu") if tensor.is_meta else _copy(tensor)
        memory = torch.empty(tuple(tensor.shape), dtype=tensor.dtype, device="cpu")
        twin = nn.Parameter(memory, requires_grad=tensor.requires_grad)
        postpone(twin, poison)
        twins[id(tensor)] = twin
        return twin

    parameters, _ = named_parameters(model)
    with untouched(model, lend), torch.device("cpu"), torch.no_grad():
        _forget_flags(model)
        layers, models = own_calls(model)
        if not layers and not models:
            raise PlanError(
                f"recipe='own': {type(unwrap(model)).__name__} has no initialization of its own: "
                f"neither it nor a layer has a method {', '.join(OWN + CONSTRUCTORS[:1])}; plan it "
                "without a recipe. Nothing was changed"
            )
        _seed(seed)
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


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True)


def _state(twin: nn.Parameter) -> tuple[list[Write], int]:
    return writes_left(twin), twin._version


def _forget_flags(model: nn.Module) -> None:
    """`transformers` skips what is marked as initialized; the marks come back with the rest."""
    for module in model.modules():
        vars(module).pop("_is_hf_initialized", None)


def _seed(seed: int) -> None:
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every device
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # the legacy generator is the global one


def _run(calls: list[Call]) -> None:
    with deferred():
        for call in calls:
            try:
                call.run()
            except Exception as error:
                raise PlanError(
                    f"recipe='own': the model's own {call.name} failed: {type(error).__name__}: "
                    f"{error}; nothing was changed. Plan the model without a recipe, or mend it"
                ) from error


def _collect(
    module: nn.Module, met: set[int], layers: list[Call], models: list[Call], *, inside: bool
) -> None:
    """The calls of a module and of those in it, each module once; `inside` a model that sees to it."""
    if id(module) in met:
        return
    met.add(id(module))
    whole = not inside and _is_pretrained(module)
    for child in module.children():
        _collect(child, met, layers, models, inside=inside or whole)
    if name := _constructor(module):
        layers.append(Call(f"{type(module).__name__}.{name}", getattr(module, name)))
    if whole:  # a model of `transformers` goes over all its modules, models in it too
        model: Any = module
        models.append(Call("_init_weights", model.initialize_weights))
    elif not inside and not type(module).__module__.startswith("torch."):
        models.extend(_own_call(module))


def _constructor(module: nn.Module) -> str:
    """The method that a layer's constructor calls last; empty if there is none."""
    return next((name for name in CONSTRUCTORS if _required(module, name) == 0), "")


def _own_call(module: nn.Module) -> list[Call]:
    """A method that initializes the whole module, or one that is to be applied to each in it."""
    for name in OWN:
        required = _required(module, name)
        if required == 0:
            return [Call(name, getattr(module, name))]
        if required == 1 and name.startswith("_"):
            return [Call(name, functools.partial(module.apply, getattr(module, name)))]
    return []


def _required(module: nn.Module, name: str) -> int:
    """How many arguments a method of a module's class must be given; -1 if there is none."""
    if not callable(getattr(type(module), name, None)):  # a wrapper would answer for what it wraps
        return -1
    parameters = inspect.signature(getattr(module, name)).parameters.values()
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return sum(p.default is p.empty and p.kind not in free for p in parameters)


def _is_pretrained(module: nn.Module) -> bool:
    """Whether it is a model of `transformers`, which is not imported to find out."""
    return any(
        c.__name__ == "PreTrainedModel" and c.__module__.startswith("transformers.")
        for c in type(module).__mro__
    )
