"""Builds a model without values, gives it poisoned memory, and initializes it there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from isoinit._reading.torch.isolate import tensor_attributes
from isoinit._reading.torch.names import (
    named_buffers,
    named_modules,
    named_parameters,
    refuse_keras,
)
from isoinit._reading.torch.rng import seed_generators
from isoinit._system.signals import call_user
from isoinit._verifying.auditing.constructing import Constructing
from isoinit._verifying.auditing.writes import OwnFills, Twice, Watch
from isoinit._verifying.sharded import local
from isoinit._writing.own_init import calls_on_empty, forget_marks
from isoinit._writing.poison import FINITE, NAN, poison
from isoinit.errors import ArgumentError, IsoinitError

Build = Callable[[], nn.Module]
Initialize = Callable[[nn.Module], object]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Held:
    """What a model holds after a run.

    Attributes:
        tensors: its parameters and buffers by name, tied ones once; of a sharded one this rank's part.
        whole: the same as the model has them.
        owners: the module that each lies in.
        kinds: "parameter", "buffer", or "buffer, not saved".
        aliases: for each further name of a tied parameter the name that it goes by.
        lost: the attributes, neither parameters nor buffers, that hold a tensor without memory.
    """

    tensors: dict[str, torch.Tensor]
    whole: dict[str, torch.Tensor]
    owners: dict[str, nn.Module]
    kinds: dict[str, str]
    aliases: dict[str, str]
    lost: tuple[str, ...]


@dataclass(frozen=True)
class Writes:
    """What was seen of the writes of an initialization: as in `writes.Watch`."""

    drawn: frozenset[str] = frozenset()
    copied: frozenset[str] = frozenset()
    twice: dict[str, Twice] = field(default_factory=dict)


def on_cpu(build: Build, seed: int, seen: Constructing | None = None) -> Held | None:
    """Build a model straight on the processor; None if it comes without values all the same.

    What its constructors leave unwritten is NaN, as far as torch knows of it.

    Args:
        build: the function that builds it.
        seed: for the generators.
        seen: what is to see the single writes.

    Raises:
        ArgumentError: if building fails, or leaves nothing that can be looked at.
    """
    seed_generators(seed)
    with CPU, _empty_is_nan():
        with seen or nullcontext():
            model = _built(build, "on the CPU")
        held = look(model)
    return None if any(t.is_meta for t in held.whole.values()) else held


def without_values(build: Build, *, comes_so: bool) -> tuple[nn.Module, str]:
    """Build a model on the meta device, or on the processor where its constructor needs values.

    Args:
        build: the function that builds it.
        comes_so: whether it puts the model on the meta device by itself.

    Returns:
        The model, and why it could not be built on the meta device; empty if it could.

    Raises:
        ArgumentError: if it cannot be built on the processor either.
    """
    why = ""
    if not comes_so:
        try:
            with torch.device("meta"), torch.no_grad():
                return _built(build, "on the meta device"), ""
        except ArgumentError as error:
            if (cause := error.__cause__) is None:
                raise
            why = f"{type(cause).__name__}: {cause}"
    with CPU:
        model = _built(build, "on the CPU")
    forget_marks(model)
    return model, why


def initialized(
    model: nn.Module, initialize: Initialize | None, nan: bool, seed: int, watch: bool = False
) -> tuple[Held, Writes]:
    """Give a model poisoned memory and initialize it there.

    Args:
        model: without values.
        initialize: what to call; None stands for the model's own initialization.
        nan: the poison: NaN, or a finite number.
        seed: for the generators.
        watch: whether to see the single writes.

    Raises:
        ArgumentError: if a tensor cannot be given memory, or the initialization fails.
    """
    try:
        model.to_empty(device=CPU)
        parameters, aliases = named_parameters(model)
        tensors = parameters | named_buffers(model)[0]
        for tensor in tensors.values():
            _poison(local(tensor), nan=nan)
    except Exception as error:
        raise ArgumentError(
            f"{type(model).__name__}.to_empty(device='cpu') gives memory that cannot be read: "
            f"{type(error).__name__}: {error}. Audit the model before it is quantized or made "
            "sparse"
        ) from error
    seed_generators(seed)
    seen = Watch(tensors, tuple(aliases.values()))
    # Memory that the initialization takes itself is told from written one in the same way.
    with CPU, torch.no_grad(), _empty_is_nan() if nan else nullcontext():
        if watch:
            with seen, OwnFills(seen):
                _initialize(model, initialize)
        else:
            _initialize(model, initialize)
    writes = Writes(frozenset(seen.drawn), frozenset(seen.copied), seen.twice)
    seen.drawn.clear()  # it keeps frames alive
    return look(model), writes


def look(model: nn.Module) -> Held:
    """What a model holds, by name."""
    _refuse_unseen(model)
    parameters, aliases = named_parameters(model)
    buffers, _ = named_buffers(model)
    owners: dict[str, nn.Module] = {}
    unsaved: set[str] = set()
    lost: dict[int, str] = {}
    for prefix, module in named_modules(model):
        owners.update(dict.fromkeys((prefix + n for n in module._parameters), module))
        owners.update(dict.fromkeys((prefix + n for n in module._buffers), module))
        unsaved.update(prefix + n for n in module._non_persistent_buffers_set)
        for name, tensor in tensor_attributes(module).items():
            if local(tensor).is_meta:
                lost.setdefault(id(tensor), prefix + name)
    kinds = dict.fromkeys(parameters, "parameter")
    kinds |= {n: "buffer, not saved" if n in unsaved else "buffer" for n in buffers}
    whole = {**parameters, **buffers}
    tensors = {name: local(tensor).detach() for name, tensor in whole.items()}
    return Held(tensors, whole, owners, kinds, aliases, tuple(lost.values()))


def poisons(dtype: torch.dtype) -> tuple[int, int]:
    """The bytes of the two poisons: of integers, ones and zeros, which any code can index by."""
    if dtype.is_floating_point or dtype.is_complex:
        return NAN, FINITE
    return (1 if dtype is torch.bool else NAN), 0


def _poison(tensor: torch.Tensor, *, nan: bool) -> None:
    first, second = poisons(tensor.dtype)
    poison(tensor, first if nan else second)


def _initialize(model: nn.Module, initialize: Initialize | None) -> None:
    calls = (
        [(call.name, call.run) for call in calls_on_empty(model)]
        if initialize is None
        else [("initialize(model)", lambda: initialize(model))]
    )
    for name, run in calls:
        try:
            call_user(run)
        except Exception as error:
            raise ArgumentError(
                f"{name} failed on a model from the meta device: {type(error).__name__}: {error}. "
                "It may read a tensor that nothing has written yet. Write this tensor first, or "
                "fix the function"
            ) from error


def _built(build: Build, where: str) -> nn.Module:
    try:
        model = call_user(build)
    except IsoinitError:  # it has its own words
        raise
    except Exception as error:
        raise ArgumentError(
            f"build() failed {where}: {type(error).__name__}: {error}. Pass a function without "
            "arguments that returns a torch.nn.Module"
        ) from error
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"build() returned a {type(model).__name__}; expected a torch.nn.Module"
        )
    refuse_keras(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise ArgumentError(
            "build() returned a scripted module, and its tensors cannot be replaced. Audit the "
            "model before torch.jit.script"
        )
    return model


def _refuse_unseen(model: nn.Module) -> None:
    tensors = named_parameters(model)[0] | named_buffers(model)[0]
    if not tensors:
        raise ArgumentError(
            f"{type(model).__name__} has no parameters and no buffers, so there is nothing to "
            "audit. Audit a quantized model before quantization, because quantized layers have no "
            "visible parameters"
        )
    for name, tensor in tensors.items():
        if is_lazy(tensor):
            raise ArgumentError(
                f"{name!r} has no shape yet (a lazy layer). Run the model once on a batch in "
                "build()"
            )
        if tensor.is_quantized:
            raise ArgumentError(
                f"{name!r} is quantized, so its memory cannot be filled with a test pattern. "
                "Audit the model before it is quantized"
            )


@contextmanager
def _empty_is_nan() -> Iterator[None]:
    """Have `torch.empty` and its like give NaN."""
    on = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    fills = settings.fill_uninitialized_memory
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.use_deterministic_algorithms(True, warn_only=True)
            settings.fill_uninitialized_memory = True
            yield
    finally:
        torch.use_deterministic_algorithms(on, warn_only=warns)
        settings.fill_uninitialized_memory = fills
