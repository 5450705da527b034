"""A copy of what computes a weight, to assign weights to: the model itself is not written."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from isoinit._reading.torch.isolate import tensor_attributes
from isoinit._reading.torch.names import named_buffers
from isoinit._reading.torch.parametrizations import Computed
from isoinit._reading.torch.rng import generators_kept, seed_generators

# Power iteration is repeated until its vectors move by less than this in one step. The singular
# value is then off by about the square of what is left to go.
SETTLED, ROUGH = 1e-5, 1e-3
LOOSE = 1e-2  # what still moves by more after so many steps follows from something else
MOST_RUNS = 2000
SHORT = (torch.float16, torch.bfloat16)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Replica:
    """A copy, on the processor, of what computes a weight.

    Args:
        computed: the weight; its module is not changed.
        given: values to take in place of the model's own, by name. What has none, here and in the
            model, starts from random numbers, which power iteration forgets.
        seed: of the random numbers that a `right_inverse` draws.
        rough: whether a percent is enough. Power iteration then goes on from one weight to the next.
    """

    def __init__(
        self,
        computed: Computed,
        given: Mapping[str, torch.Tensor] | None = None,
        seed: int = 0,
        *,
        rough: bool = False,
    ) -> None:
        self._computed, self._seed, self._rough = computed, seed, rough
        self._started = False
        given = given or {}
        random = torch.Generator().manual_seed(0)
        twins: dict[int, Any] = {}
        for name, parameter in computed.parameters.items():
            values = _values(given.get(name, parameter), random)
            twins[id(parameter)] = nn.Parameter(values, requires_grad=False)
        for name, buffer in computed.buffers.items():
            twins[id(buffer)] = _values(given.get(name, buffer), random)
        self._module = _copied(computed, twins)
        self._begun = {name: buffer.clone() for name, buffer in self.buffers.items()}

    @property
    def originals(self) -> dict[str, torch.Tensor]:
        """The copy's parameters, by their names in the model."""
        own = self._computed.originals.items()
        return {name: self._module.get_parameter(key).detach() for key, name in own}

    @property
    def _settled(self) -> float:
        return ROUGH if self._rough else SETTLED

    @property
    def _dtype(self) -> torch.dtype:
        return next(iter(self.originals.values())).dtype

    @property
    def buffers(self) -> dict[str, torch.Tensor]:
        """The copy's buffers, by their names in the model."""
        found, _ = named_buffers(self._module)
        return {self._computed.prefix + name: buffer for name, buffer in found.items()}

    @property
    def changed(self) -> dict[str, torch.Tensor]:
        """The buffers that hold something else than at the start."""
        now = self.buffers.items()
        return {n: b for n, b in now if n not in self._begun or not torch.equal(b, self._begun[n])}

    def form(self) -> tuple[tuple[int, ...], torch.dtype]:
        """Return the shape and the type of the weight."""
        with _repeatable(self._seed):
            self._module.eval()
            made = self._forward()
            return tuple(made.shape), made.dtype

    def assign(self, weight: torch.Tensor) -> torch.Tensor:
        """Assign a weight through `right_inverse`; returns the weight that comes out.

        Raises:
            ValueError: if a parameter is not finite then; or whatever `right_inverse` raises.
        """
        with _repeatable(self._seed):
            if isinstance(self._module, ParametrizationList):
                self._module.right_inverse(weight.to(self._dtype, copy=True))
            else:
                self._write(dict.fromkeys(self.originals, weight))
            if not all(bool(torch.isfinite(values).all()) for values in self.originals.values()):
                raise ValueError("it makes NaN or infinity")
            return self._made()

    def hold(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Write the parameters, by their names in the model; returns the weight that comes out."""
        with _repeatable(self._seed):
            self._write(values)
            return self._made()

    def made(self) -> torch.Tensor:
        """Return the weight that the parameters make."""
        with _repeatable(self._seed):
            return self._made()

    def _write(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, original in self.originals.items():
            if name in values:
                original.copy_(values[name])

    def _made(self) -> torch.Tensor:
        """The weight that the parameters make, with the buffers that a forward writes up to date.

        Those start from random numbers, so that what was there before does not matter. The forward is
        run in training mode until they stay as they are. Buffers that do not settle, and counters, do
        not follow from the weight: they are put back.
        """
        began = {name: buffer.clone() for name, buffer in self.buffers.items()}
        written = self._written() if began else []
        moving = [name for name in written if began[name].is_floating_point()]
        if not (self._rough and self._started):
            for name in moving:
                self.buffers[name].copy_(torch.randn(began[name].shape))
        self._started = True
        settled = self._run(moving)
        for name in written:
            if name not in settled:
                self.buffers[name].copy_(began[name])
        self._module.eval()
        return self._forward().detach().contiguous()

    def _run(self, moving: list[str]) -> set[str]:
        """Run until these buffers stay as they are; returns those that do, or nearly so."""
        last: dict[str, torch.Tensor] = {}
        for _ in range(MOST_RUNS if moving else 0):
            last = {name: self.buffers[name].clone() for name in moving}
            self._forward()
            if all(_is_near(self.buffers[n], b, self._settled) for n, b in last.items()):
                break
        return {n for n, buffer in last.items() if _is_near(self.buffers[n], buffer, LOOSE)}

    def _written(self) -> list[str]:
        """The buffers that a forward in training mode writes."""
        before = {name: (buffer, buffer._version) for name, buffer in self.buffers.items()}
        self._module.train()
        self._forward()
        after = {name: (buffer, buffer._version) for name, buffer in self.buffers.items()}
        return [
            name
            for name, (buffer, version) in before.items()
            if after[name][0] is not buffer or after[name][1] != version
        ]

    def _forward(self) -> torch.Tensor:
        made: torch.Tensor
        if (hook := self._computed.hook) is None:
            made = self._module()
        else:
            hook(self._module, None)
            made = getattr(self._module, hook.name)
        return made


def _values(tensor: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """A tensor's values on the processor; small random ones where it has none here.

    Short types become float32: few decompositions take them, and power iteration would not settle.
    """
    dtype = torch.float32 if tensor.dtype in SHORT else tensor.dtype
    if not (tensor.is_meta or hasattr(tensor, "device_mesh")):
        values = tensor.detach().to("cpu", dtype, copy=True)
        if bool(torch.isfinite(values).all()):
            return values
    made = torch.empty(tuple(tensor.shape), dtype=dtype, device="cpu")
    return made.normal_(0, 0.02, generator=random) if made.is_floating_point() else made.zero_()


def _copied(computed: Computed, twins: dict[int, Any]) -> nn.Module:
    """A copy of the module with these tensors, by the identity of its own; without its hooks."""
    if computed.hook is not None:  # of the layer nothing else takes part
        layer = nn.Module()
        for key, name in computed.originals.items():
            layer.register_parameter(key, twins[id(computed.parameters[name])])
        for name, buffer in computed.buffers.items():
            layer.register_buffer(name.removeprefix(computed.prefix), twins[id(buffer)])
        return layer
    for part in computed.module.modules():
        for tensor in tensor_attributes(part).values():
            twins.setdefault(id(tensor), tensor.detach().cpu().clone())
        for hooks in _HOOKS:  # they may hold the whole model
            twins[id(vars(part)[hooks])] = OrderedDict()
    return copy.deepcopy(computed.module, twins)


def _is_near(now: torch.Tensor, before: torch.Tensor, rtol: float) -> bool:
    # NaN is near to NaN: whoever asked sees it in the weight.
    change, size = torch.dist(now, before), torch.linalg.vector_norm(now)
    return not bool(change > rtol * size)


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    """Without gradients, and with the same random numbers each time; generators are put back."""
    with generators_kept(), torch.no_grad():
        seed_generators(seed)
        yield
