"""Moves connections while a sparse model trains: small weights are dropped, others grow in their rows.

A fixed pattern decides before training which inputs a unit sees. Moving a share of the connections
every so often looks for better ones, at random (SET) or where the loss falls fastest (RigL), and keeps
the number of weights, so that memory and work stay those of the sparse model.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from isoinit._drawing.streams import Stream
from isoinit._reading.torch.names import named_modules
from isoinit._writing.seeds import resolve_seed
from isoinit.errors import ArgumentError
from isoinit.sparse.layers import Places, Scattered, SparseEmbedding, SparseLinear
from isoinit.sparse.rows import Pair, Rows

Method = Literal["rigl", "set"]


@dataclass(frozen=True, eq=False)
class _Part:
    """A sparse weight: its dense name, the module that holds it, its kept weights and their places."""

    name: str
    module: nn.Module
    values: nn.Parameter
    places: Places


class Regrow:
    """Drops the smallest weights of every row and regrows as many in the same row, every so often.

    Call `step` once after each step of the optimizer. At every `every`-th call before `until`, a share
    f(t) = fraction/2 · (1 + cos(πt/until)) of each row's weights, to the nearest integer, is
    dropped by size, and as many places of the row are chosen anew:

    - "rigl": those where the loss is steepest, that is, where the gradient of the dense weight is
      largest. It is that of the backward passes since the last call, worked out for some rows at a
      time and at these steps alone. A place without any gradient is not grown.
    - "set": random ones, a function of `seed`, the weight's name and the step.

    What was just dropped may be chosen again, and then stays as it was. All other new weights start
    at zero, as does what the optimizer holds of them; what it holds of the rest moves along. Each row
    keeps its number of weights, whether or not rows differ in that.

    Where this differs from the papers: weights are compared within a row and not within a layer, which
    keeps every unit's number of inputs (Lasby et al. keep it too: they drop by layer and fill up each
    unit, or give it up); both methods take a decaying share (Mocanu et al. a constant one); SET starts
    new weights at zero and not at random; RigL moves after a step of the optimizer, not in its place.
    Whole blocks and N:M patterns are broken up: do not use it where they matter.

    "rigl" moves the weights of linear layers, and leaves those of tables and of layers that compute
    with a dense weight; "set" moves all. Frozen weights stay. Under data parallelism each process
    has the gradient of its own batch: use "set", which moves the same weights everywhere. The state
    dict of the model has the new places: `isoinit.sparse.adopt` takes them over.

    Args:
        model: a sparse model, as `isoinit.sparse.convert` makes it.
        optimizer: one that holds its weights.
        method: "rigl" or "set".
        fraction: the share that the first moves would drop, in (0, 1].
        every: how many steps lie between moves.
        until: the step from which on nothing moves: three quarters of all steps is usual.
        seed: of the random places; of no use to "rigl". A number by default, and none that is drawn:
            processes that train one model must move the same weights.

    Raises:
        ArgumentError: for an argument out of range; a model without sparse weights that are trained
            (for "rigl", in linear layers), or with kept weights that two layers share; an optimizer
            that lacks one of them; a model wrapped in FSDP, or for "rigl" in DDP.

    Source: SET: Mocanu et al. 2018; RigL: Evci et al. 2020, section 3 and algorithm 1; constant
        fan-in: Lasby et al. 2024 (SRigL).

    Example:
        >>> import torch
        >>> from isoinit import sparse
        >>> layer = sparse.convert(torch.nn.Linear(100, 10), density=0.1)
        >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        >>> regrow = sparse.Regrow(layer, optimizer, method="set", every=2, until=100)
        >>> [regrow.step() > 0 for _ in range(4)]
        [False, True, False, True]
        >>> layer.places.kept
        100
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        method: Method = "rigl",
        fraction: float = 0.3,
        every: int = 100,
        until: int,
        seed: int = 0,
    ) -> None:
        _require_numbers(method, fraction, every, until)
        _require_kinds(model, optimizer, method)
        self.method, self.fraction = method, float(fraction)
        self.every, self.until = operator.index(every), operator.index(until)
        self.seed = resolve_seed(seed)
        self.steps = 0
        self._optimizer = optimizer
        self._parts = _chosen(model, method)
        _require_held(self._parts, optimizer)
        self._watches: dict[str, _Watch] = {}
        self._watch()

    def step(self) -> int:
        """Count a step, and move weights if it is time.

        Returns:
            How many weights have moved: 0 at most steps.

        Raises:
            ArgumentError: for "rigl", if no gradient has passed through the layers since the last
                call; nothing was changed.
        """
        now, moved = self.steps + 1, 0
        if self.due:
            pairs = {name: watch.pairs for name, watch in self._watches.items()}
            if self.method == "rigl" and not any(pairs.values()):
                raise ArgumentError(
                    f"weights move at step {now}, but no gradient has passed through the sparse "
                    "layers. Call step() once after each loss.backward() and optimizer.step(). If "
                    "the model is compiled, run the steps at which regrow.due is true without "
                    "compilation, or use method='set', which needs no gradient"
                )
            moved = sum(self._move(part, now, pairs.get(part.name, [])) for part in self._parts)
        self.steps = now
        self._watch()
        return moved

    def state_dict(self) -> dict[str, int]:
        """The number of steps; what was moved is in the model's own state."""
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a saved number of steps.

        Raises:
            ArgumentError: if it is not of `state_dict`.
        """
        steps = state.get("steps")
        if not isinstance(steps, int) or steps < 0:
            raise ArgumentError(
                f"the state's steps is {steps!r}; expected an integer of 0 or more. Load a dict "
                "from Regrow.state_dict()"
            )
        self.steps = steps
        self._watch()

    @property
    def due(self) -> bool:
        """Whether the coming `step` moves weights."""
        coming = self.steps + 1
        return coming % self.every == 0 and coming < self.until

    def _watch(self) -> None:
        """Watch the layers during a step that ends with a move by gradient, and then only."""
        for watch in self._watches.values():
            watch.end()
        watched = self._parts if self.method == "rigl" and self.due else []
        self._watches = {part.name: _Watch(part.module) for part in watched}

    @torch.no_grad()
    def _move(self, part: _Part, step: int, pairs: Sequence[Pair]) -> int:
        if self.method == "rigl" and not pairs:  # the batch did not come by
            return 0
        share = self.fraction / 2 * (1 + math.cos(math.pi * step / self.until))
        rows = Rows(part.places)
        quota = (rows.counts * share).round().long()
        dropped = rows.smallest(part.values, quota)
        if self.method == "rigl":
            grown = rows.steepest(pairs, dropped, quota)
        else:
            stream = Stream(self.seed, part.name).child("regrow").child(str(step))
            grown = rows.random(stream, dropped, quota)
        new = rows.merged(dropped, grown)
        origin = torch.searchsorted(rows.places, new).clamp(max=max(len(new) - 1, 0))
        stays = rows.places[origin] == new
        for tensor in self._follow(part.values):
            tensor.copy_(torch.where(stays, tensor[origin], 0))
        part.places.move(new % max(rows.size, 1), part.places.starts)
        return int((~stays).sum())

    def _follow(self, values: nn.Parameter) -> list[torch.Tensor]:
        """What has a number for each kept weight: values, gradient, and the optimizer's state."""
        state = self._optimizer.state.get(values, {}).values()
        found = [values, values.grad, *state]
        return [t for t in found if isinstance(t, torch.Tensor) and t.shape == values.shape]


class _Watch:
    """Remembers what goes into a layer and what gradient comes back, until it is ended."""

    def __init__(self, layer: nn.Module) -> None:
        self.pairs: list[Pair] = []
        self._handle = layer.register_forward_hook(self._see, with_kwargs=True)

    def _see(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], y: torch.Tensor
    ) -> None:
        if y.requires_grad:
            x = (args[0] if args else kwargs["x"]).detach()
            y.register_hook(lambda g: self.pairs.append((g.detach(), x)))

    def end(self) -> None:
        self._handle.remove()


def _require_numbers(method: Any, fraction: Any, every: Any, until: Any) -> None:
    if method not in get_args(Method):
        kinds = " or ".join(map(repr, get_args(Method)))
        raise ArgumentError(f"Regrow(method={method!r}): expected {kinds}")
    number = isinstance(fraction, (int, float)) and not isinstance(fraction, bool)
    if not number or not 0 < fraction <= 1:
        raise ArgumentError(
            f"Regrow(fraction={fraction!r}): expected the fraction of weights to move, above 0 "
            "and at most 1, usually 0.3"
        )
    for name, value in (("every", every), ("until", until)):
        whole = hasattr(value, "__index__") and not isinstance(value, bool)
        if not whole or value < 1:
            raise ArgumentError(
                f"Regrow({name}={value!r}): expected a number of steps, an integer of 1 or more"
            )
    if until <= every:
        raise ArgumentError(
            f"Regrow(every={every!r}, until={until!r}) never moves a weight. Expected until above "
            "every, usually three quarters of the training steps"
        )


def _require_kinds(model: Any, optimizer: Any, method: Method) -> None:
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ArgumentError(
            f"optimizer is a {type(optimizer).__name__}; expected the torch.optim.Optimizer that "
            "trains the model"
        )
    refused = {"FullyShardedDataParallel", "FSDPModule"}
    if method == "rigl":
        refused |= {"DistributedDataParallel"}
    for module in model.modules():
        if found := refused.intersection(cls.__name__ for cls in type(module).__mro__):
            raise ArgumentError(
                f"the model is wrapped in {found.pop()}. Each process holds only a part of the "
                "weights, so processes would move different weights. Use DistributedDataParallel "
                "with method='set'"
            )


def _chosen(model: nn.Module, method: Method) -> list[_Part]:
    """The weights that the method moves."""
    parts = [part for part in _sparse_parts(model) if part.values.requires_grad]
    if not parts:
        raise ArgumentError(
            f"{type(model).__name__} has no trainable sparse weights. Make them with "
            "isoinit.sparse.convert"
        )
    if method == "rigl":
        linear = [part for part in parts if isinstance(part.module, SparseLinear)]
        if not linear:
            raise ArgumentError(
                "Regrow(method='rigl') works only for sparse linear layers, and the model has "
                f"none ({parts[0].name!r} belongs to another layer). Use method='set'"
            )
        return linear
    return parts


def _sparse_parts(model: nn.Module) -> Iterator[_Part]:
    """All sparse weights, each once, by its first name."""
    owners: dict[int, _Part] = {}
    for part in _named_parts(model):
        first = owners.setdefault(id(part.values), part)
        if first is part:
            yield part
        elif first.module is not part.module:
            raise ArgumentError(
                f"{part.name!r} and {first.name!r} share their kept weights, but their positions "
                "would move separately. Untie the two"
            )


def _named_parts(model: nn.Module) -> Iterator[_Part]:
    for prefix, module in named_modules(model):
        if isinstance(module, (SparseLinear, SparseEmbedding)):
            yield _Part(prefix + "weight", module, module.values, module.places)
        elif isinstance(module, ParametrizationList) and isinstance(module[0], Scattered):
            holder, _, attribute = prefix.removesuffix(".").rpartition("parametrizations.")
            original: Any = module.original
            yield _Part(holder + attribute, module, original, module[0].places)


def _require_held(parts: Sequence[_Part], optimizer: torch.optim.Optimizer) -> None:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for part in parts:
        if id(part.values) not in held:
            raise ArgumentError(
                f"the optimizer does not hold the kept weights of {part.name!r}. Make the "
                "optimizer from model.parameters() after the conversion, or freeze the weights "
                "with requires_grad_(False)"
            )
