"""Sees what an initialization writes, and which of its writes come to nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from isoinit._system.private import TorchDispatchMode, storage_key
from isoinit._verifying.auditing.lines import asked
from isoinit._verifying.sharded import local
from isoinit._writing.deferred import DRAWS
from isoinit._writing.deferred import RANDOM as OWN_RANDOM

RANDOM = frozenset(f"aten::{name}" for name in DRAWS)
# Writes that leave nothing of the old values.
FILLS = RANDOM | {"aten::fill_", "aten::zero_", "aten::copy_"}
OWN = ("isoinit.functional", "isoinit._writing.called")


@dataclass(frozen=True)
class Fill:
    """One write over a region of a tensor, whatever was there.

    Attributes:
        region: offset, size and strides in the storage; None stands for the whole storage.
        law: the operation with its numbers: what is drawn or written.
        caller: the run of the function that asked for it.
        line: file and line of that.
        tool: the run of the function of `torch.nn.init` in between, if there is one.
    """

    region: object
    law: str
    caller: FrameType | None
    line: str
    tool: FrameType | None


@dataclass(frozen=True)
class Twice:
    """Values that were written over before anything read them: the lines of both writes."""

    first: str
    second: str


class Watch(TorchDispatchMode):
    """Sees every write to some tensors, through views too.

    Args:
        tensors: by name; tied ones once.
        tied: the names of those that the model holds in several places.

    Attributes:
        drawn: the names of the tensors that random values were drawn into, and by which tool.
        copied: the names of those that got the whole of another one's values.
        twice: by name, what was written for nothing.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], tied: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = {key: name for name, t in tensors.items() if (key := _storage(t)) is not None}
        self._tied = frozenset(tied)
        self._last: dict[str, list[Fill]] = {}
        self.drawn: dict[str, FrameType | None] = {}
        self.copied: set[str] = set()
        self.twice: dict[str, Twice] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        schema = func._schema
        views = not schema.is_mutable and any(r.alias_info for r in schema.returns)
        if not views and not schema.name.endswith("_like"):
            self._note(schema.name, args, kwargs, writes=schema.is_mutable)
        return made

    def _note(self, name: str, args: Sequence[Any], kwargs: Any, *, writes: bool) -> None:
        for read in args[1:] if writes else args:
            if (owner := self._owner(read)) is not None:
                self._last.pop(owner, None)  # what was written came to something
        if writes and args and name in FILLS:
            self.filled(name, args, kwargs)

    def filled(self, name: str, args: Sequence[Any], kwargs: Any) -> None:
        """Note that something writes over a region of a tensor, whatever was there."""
        if (owner := self._owner(args[0])) is None:
            return
        numbers = [repr(a) for a in args[1:] if not isinstance(a, torch.Tensor)]
        numbers += [f"{k}={v!r}" for k, v in kwargs.items() if k != "generator"]
        fill = Fill(_region(args[0]), f"{name}({', '.join(numbers)})", *asked())
        self._remember(owner, fill, name, args)
        self._fill(owner, fill)

    def _remember(self, owner: str, fill: Fill, name: str, args: Sequence[Any]) -> None:
        """Note where the values come from: of a table copied over a draw, nothing drawn is left."""
        if fill.region is None:
            self.copied.discard(owner)
            if self.drawn.get(owner) is not fill.tool or fill.tool is None:
                self.drawn.pop(owner, None)
        if name in RANDOM or name in OWN_RANDOM:
            self.drawn[owner] = fill.tool
        if name == "aten::copy_" and self._owner(args[1]) not in (None, owner):
            self.copied.add(owner)

    def __exit__(self, *failure: Any) -> None:
        super().__exit__(*failure)  # type: ignore[no-untyped-call]
        self._last.clear()  # it keeps frames alive

    def _fill(self, owner: str, fill: Fill) -> None:
        pending = self._last.setdefault(owner, [])
        lost = [f for f in pending if fill.region in (f.region, None)]
        for earlier in lost:
            if self._counts(owner, earlier, fill):
                self.twice[owner] = Twice(earlier.line, fill.line)
        self._last[owner] = [f for f in pending if f not in lost] + [fill]

    def _counts(self, owner: str, first: Fill, second: Fill) -> bool:
        """Whether a lost write is worth telling; not if a later function makes an exception."""
        if first.tool is second.tool is not None:
            return False  # one call of one initializer
        if owner in self._tied or first.caller is second.caller:
            return True
        return (first.law, first.line) == (second.law, second.line)

    def _owner(self, value: Any) -> str | None:
        if not isinstance(value, torch.Tensor):
            return None
        key = _storage(value)
        return None if key is None else self._names.get(key)


class OwnFills(TorchFunctionMode):
    """Tells a watch of isoinit's own initializers, which write into memory behind torch."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if getattr(func, "__module__", "") in OWN:
            rest = {name: number for name, number in kwargs.items() if name != "tensor"}
            self._watch.filled(func.__name__, args or (kwargs["tensor"],), rest)
        return made


def _storage(tensor: torch.Tensor) -> int | None:
    tensor = local(tensor)
    if tensor.layout is not torch.strided or tensor.is_meta or not tensor.numel():
        return None
    return storage_key(tensor)


def _region(tensor: torch.Tensor) -> object:
    tensor = local(tensor)
    if tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes():
        return None
    return tensor.storage_offset(), tuple(tensor.shape), tensor.stride()
