"""Which draw of the weights is in force, and the random numbers that it is made of.

A draw is a number, its index: the noise of a parameter is a pure function of the index, the
parameter's name and the element, made by the same streams as initial values, so that its bits do not
depend on the device or the number of threads. The index comes from torch's default generator, once
for each forward: `torch.manual_seed` makes a run repeat, checkpoints that restore the generator
resume it, and `torch.vmap` decides by its `randomness` whether its examples share a draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from isoinit._drawing.streams import Stream
from isoinit._system.private import current_graph_task_id, top_saved_tensors_default_hooks
from isoinit._writing.fill import fill_tensor
from isoinit.errors import IsoinitError
from isoinit.initializers import Normal
from isoinit.initializers.scale import fans

_STANDARD = Normal(std=1.0)


@torch.library.custom_op("isoinit::normals", mutates_args=())
def normals(
    index: torch.Tensor, shape: Sequence[int], name: str, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Standard normal numbers: a function of the index (one integer), the name, the element.

    An operation of torch's own kind, so that compiled and batched code can hold it.
    """
    noise = torch.empty(tuple(shape), dtype=dtype, device=device)
    stream = Stream(int(index.item()), name, "noise")
    fill_tensor(noise, _STANDARD, fans.vector(noise.shape), stream)
    return noise


@normals.register_fake
def _(
    _: torch.Tensor, shape: Sequence[int], __: str, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    return torch.empty(tuple(shape), dtype=dtype, device=device)


@normals.register_vmap
def _(
    _: Any, in_dims: tuple[int | None, ...], index: torch.Tensor, *rest: Any
) -> tuple[torch.Tensor, int]:
    if in_dims[0] is None:
        raise AssertionError("a batched call without a batch")  # torch would not come here
    return torch.stack([normals(one, *rest) for one in index.unbind(in_dims[0])]), 0


@torch.library.custom_op("isoinit::new_index_", mutates_args=("out",))
def _new_index(out: torch.Tensor) -> None:
    out.copy_(torch.randint(2**63 - 1, (), dtype=torch.int64, device="cpu"))


@_new_index.register_fake
def _(_: torch.Tensor) -> None: ...


def new_index() -> torch.Tensor:
    """The next draw's index, from torch's default generator."""
    if not torch.compiler.is_compiling():
        return torch.randint(2**63 - 1, (), dtype=torch.int64, device="cpu")
    # Compiled code has a generator of its own, so that the number comes from an operation that the
    # compiler cannot see into; and not make one of two of them, because each writes to its own memory.
    index = torch.empty((), dtype=torch.int64, device="cpu")
    _new_index(index)
    return index


class Draws:
    """The draw in force: one for all distributions of a model.

    A forward of the model is one draw, whatever it uses twice: layers, tied weights, the steps of a
    recurrent loop. A layer that is called by itself draws for that call.
    """

    def __init__(self) -> None:
        self.index: torch.Tensor | None = None
        self.given = False
        self._depth = 0
        self._held: dict[tuple[str, bool], torch.Tensor] = {}
        self._briefly: dict[tuple[str, bool], torch.Tensor] = {}
        self._forwards = 0
        self._replayed = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Draws:
        memo[id(self)] = twin = Draws()
        return twin

    def begin(self, *_: Any) -> None:
        """A forward of the whole model begins; hooked before it."""
        # Whatever an interrupted forward has left is dropped: no forward lies within another.
        self._held, self._briefly, self._depth = {}, {}, 1
        if not self.given:
            self.index = new_index()
            self._count()

    def end(self, *_: Any) -> None:
        """It has ended, also by an error; hooked after it."""
        self._held, self._briefly, self._depth = {}, {}, 0

    def enter(self, *_: Any) -> None:
        """A layer with a distribution is called, in a forward of the model or by itself."""
        if self._depth == 0 and not self.given:
            self._renew()
        self._depth += 1

    def leave(self, *_: Any) -> None:
        """The layer's call has ended."""
        self._briefly = {}
        self._depth = max(self._depth - 1, 0)
        if self._depth == 0:
            self._held = {}

    def current(self) -> torch.Tensor:
        """The index of the draw in force: outside of all calls a new one for every question."""
        if self._depth == 0 and not self.given:
            self._renew()
        assert self.index is not None
        return self.index

    def held(self, name: str) -> torch.Tensor | None:
        """What was made for this name in this draw."""
        key = name, torch.is_grad_enabled()
        found = self._held.get(key)
        return self._briefly.get(key) if found is None else found

    def hold(self, name: str, weight: torch.Tensor) -> None:
        """Keep a drawn weight for the rest of the draw, or of its layer's call.

        Where gradients are recorded the graph keeps it anyway. Without them, or where something
        else decides what the graph keeps (as checkpointing, which must find the same operations when
        it runs a part again), it is kept for the layer's call alone.
        """
        if self._depth:
            kept = self._held if _graph_keeps() else self._briefly
            kept[name, torch.is_grad_enabled()] = weight

    @contextmanager
    def fixed(self, index: torch.Tensor) -> Iterator[None]:
        """Inside, every forward is the draw of this index."""
        before = self.index, self.given
        self.index, self.given = index, True
        try:
            yield
        finally:
            self.index, self.given = before

    def _renew(self) -> None:
        if not _in_backward():
            self.index = new_index()
            return
        # Activation checkpointing runs a part of the last forward again, which has to see its draw.
        self._replayed = True
        if self._forwards > 1:
            raise IsoinitError(
                "activation checkpointing runs a part of the model again in the backward pass, "
                f"but there were {self._forwards} forward passes since the last one, each with "
                "its own draw of the weights. Call backward after each forward pass and evaluate "
                "under torch.no_grad(), or checkpoint the whole model"
            )
        if self.index is None:
            self.index = new_index()

    def _count(self) -> None:
        if torch.compiler.is_compiling() or _in_backward():
            return
        if self._replayed:
            self._forwards, self._replayed = 0, False
        self._forwards += torch.is_grad_enabled()


def _in_backward() -> bool:
    if torch.compiler.is_compiling():
        return False
    return bool(current_graph_task_id() != -1)


def _graph_keeps() -> bool:
    if torch.compiler.is_compiling():
        return True
    hooks = top_saved_tensors_default_hooks(True)
    return torch.is_grad_enabled() and hooks is None
