"""Sees what a constructor writes, and which values that it meant are written over later.

A fill at random, a number that is neutral, and what torch's layers give themselves are a start that
anybody may write over. Anything else stands for something: a table, a constant, the bias of a gate.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from isoinit._reading.torch.look import look_at
from isoinit._reading.torch.numbers import doubled, in_reals
from isoinit._reading.torch.trees import tensors_in
from isoinit._reading.values import Values
from isoinit._system.private import storage_key
from isoinit._system.signals import check_signals
from isoinit._verifying.auditing.lines import Asked, asked
from isoinit._writing.deferred import BLIND, OVERWRITES, RANDOM
from isoinit._writing.torch_init import asking_first

MAKE_EMPTY = frozenset("empty empty_like empty_strided new_empty new_empty_strided".split())
MAKE_RANDOM = frozenset(
    "rand randn rand_like randn_like normal randint randint_like bernoulli poisson".split()
)
PASS_ON = frozenset("clone to contiguous float double half bfloat16 type cpu reshape".split())
ERRORS = 5.0  # standard errors, beyond which two draws of one distribution differ once in a million
Kind = Literal["empty", "drawn", "layer's", "written"]


@dataclass(frozen=True)
class Start:
    """What a memory holds while a model is constructed.

    Attributes:
        kind: never written, drawn by a random fill, given by one of torch's layers, or written.
        region: the part that the last write wrote; None stands for all.
        asked: who asked for that write.
        chosen: whether it put a neutral number where something else had been.
        was_read: whether something was computed from it.
    """

    kind: Kind
    region: object
    asked: Asked
    chosen: bool = False
    was_read: bool = False


@dataclass(frozen=True)
class Lost:
    """Values that a constructor meant, and that something wrote over.

    Attributes:
        values: as they were.
        kind: what kind of values they were, as in `Values`.
        said: what they were, in words.
        first: the line that wrote them.
        second: the line that wrote over them.
        law: the call there, with its numbers.
        changed: whether it computed the new values from them.
    """

    values: torch.Tensor
    kind: str
    said: str
    first: str
    second: str
    law: str
    changed: bool


class Constructing(TorchFunctionMode):
    """Sees each write into a parameter while models are built inside.

    Memory is known by its storage, so views and `data` are seen, too. What a tool writes behind torch
    (NumPy, the C++ of an extension) is not.
    """

    def __init__(self) -> None:
        super().__init__()
        self._starts: dict[int, Start] = {}
        self._alive: dict[int, StorageWeakRef] = {}  # which keeps the key from being used again
        self._parameters: set[int] = set()
        self._lost: dict[int, list[Lost]] = defaultdict(list)
        self._lines: dict[str, set[int]] = defaultdict(set)
        self._open: list[Any] = []

    def __enter__(self) -> Constructing:
        self._open = [asking_first(), register_module_parameter_registration_hook(self._registered)]
        self._open[0].__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *failure: Any) -> None:
        super().__exit__(*failure)  # type: ignore[no-untyped-call]
        asking, hook = self._open
        hook.remove()
        asking.__exit__(*failure)

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__set__" and getattr(func, "__self__", None) is torch.Tensor.data:
            self._replaced(args[0], args[1], "data = …")
        elif name in BLIND or name.startswith("__get"):
            return func(*args, **kwargs)
        elif _is_write(name) and _is_plain(target := args[0] if args else kwargs.get("tensor")):
            check_signals()
            who = asked()
            self._before(name, target, args, kwargs, who)
            chosen = self._chooses(name, target, args, who)
            made = func(*args, **kwargs)
            self._after(name, target, args, who, chosen)
            return made
        made = func(*args, **kwargs)
        self._note_made(name, made, [t for t in tensors_in((args, kwargs)) if _is_plain(t)])
        return made

    def lost(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, Lost]:
        """Return what was written over and has not come back, by the names of the parameters."""
        found = {}
        for name, tensor in tensors.items():
            if not _is_plain(tensor):
                continue
            last = self._starts.get(_key(tensor))
            for lost in self._lost.get(_key(tensor), ()):
                if lost.changed and not self._sweeps(lost.second):
                    continue  # a step of the same computation, or an exception
                if last and self._meant(tensor, last) and not self._sweeps(last.asked.line):
                    continue  # something else is meant now, by a line for this one alone
                redrawn = lost.kind == "random" and not lost.changed
                if redrawn and _is_drawn_alike(lost.values, tensor):
                    continue
                if not _is_same(lost.values, tensor):
                    found[name] = lost
                    break
        return found

    def meant(self, tensors: Mapping[str, torch.Tensor]) -> frozenset[str]:
        """Return the names of the tensors that hold what the constructor means something by."""
        held = {n: self._starts.get(_key(t)) for n, t in tensors.items() if _is_plain(t)}
        return frozenset(n for n, last in held.items() if last and self._meant(tensors[n], last))

    def close(self) -> None:
        """Let go of the frames that are held to tell runs of a function apart."""
        self._starts.clear()

    def _before(
        self, name: str, target: torch.Tensor, args: Sequence[Any], kwargs: Any, who: Asked
    ) -> None:
        """Note what a write is about to write over."""
        key, region = _key(target), _region(target)
        start = self._starts.get(key)
        if start is None or key not in self._parameters or start.asked.line == who.line:
            return
        over = _is_total(name) and region in (None, start.region)
        from_it = name == "copy_" and start.was_read
        step = start.asked.caller is who.caller
        if (over and not from_it) or ((from_it or not _is_total(name)) and not step):
            law = _law(name, args, kwargs)
            self._note_lost(key, target, start, (who.line, law), changed=from_it or not over)

    def _note_lost(
        self, key: int, target: torch.Tensor, start: Start, by: tuple[str, str], *, changed: bool
    ) -> None:
        if (values := self._meant(target, start)) is not None:
            self._lost[key].append(
                Lost(
                    target.detach().clone(),
                    values.kind,
                    values.said,
                    start.asked.line,
                    *by,
                    changed,
                )
            )

    def _after(
        self, name: str, target: torch.Tensor, args: Sequence[Any], who: Asked, chosen: bool
    ) -> None:
        """Note what a write has left."""
        key, region = _key(target), _region(target)
        kind: Kind = "layer's" if who.is_torchs else "written"
        if name in RANDOM and not who.is_torchs:
            kind = "drawn"
        elif name == "copy_" and isinstance(args[1], torch.Tensor) and _is_plain(args[1]):
            source = self._starts.get(_key(args[1]))
            kind = source.kind if source else kind
        self._lines[who.line].add(key)
        self._start(target, Start(kind, region, who, chosen))

    def _chooses(self, name: str, target: torch.Tensor, args: Sequence[Any], who: Asked) -> bool:
        """Whether a write puts a neutral number where a start is of another kind.

        Zeros for a matrix that was drawn, or for a scale that was one, and not for a drawn bias.
        """
        start = self._starts.get(_key(target))
        if name not in OVERWRITES or name == "copy_" or start is None or who.is_torchs:
            return False
        if start.kind == "drawn" or (start.kind == "layer's" and not _is_constant(target)):
            return target.dim() > 1
        given = args[1] if args[1:] else None
        number = {"zero_": 0.0, "zeros_": 0.0, "ones_": 1.0}.get(name, given)
        if start.kind != "layer's" or not isinstance(number, (int, float)):
            return False
        before = target.detach().reshape(-1)[0].item()  # in each element
        return before in (0, 1) and number != before

    def _replaced(self, old: Any, new: Any, law: str) -> None:
        """Note that other memory stands for a parameter from now on."""
        if not _is_plain(old) or not _is_plain(new) or _key(old) == _key(new):
            return
        key, who, start = _key(old), asked(), self._starts.get(_key(old))
        self._lines[who.line].add(_key(new))
        self._parameters.add(_key(new))
        known = key in self._parameters
        if (
            start and known and start.asked.line != who.line and not _is_same(old, new)
        ):  # as they are after a cast
            self._note_lost(key, old, start, (who.line, law), changed=start.was_read)
        self._lost[_key(new)] = [*self._lost.get(key, ()), *self._lost.get(_key(new), ())]

    def _registered(self, module: nn.Module, name: str, parameter: Any) -> None:
        if _is_plain(parameter):
            self._parameters.add(_key(parameter))
            if (old := module._parameters.get(name)) is not None:
                self._replaced(old, parameter, f"{name} = Parameter(…)")

    def _note_made(self, name: str, made: Any, given: Sequence[torch.Tensor]) -> None:
        keys = {_key(t) for t in given}
        for key in keys & self._starts.keys():
            self._starts[key] = replace(self._starts[key], was_read=True)
        for tensor in tensors_in(made) if isinstance(made, (torch.Tensor, tuple, list)) else ():
            if not _is_plain(tensor) or _key(tensor) in keys:
                continue
            who = asked()
            kind: Kind = "layer's" if who.is_torchs else "written"
            if name in PASS_ON and given:
                source = self._starts.get(_key(given[0]))
                kind = source.kind if source else kind
            elif name in MAKE_EMPTY:
                kind = "empty"
            elif name in MAKE_RANDOM:
                kind = "drawn"
            self._start(tensor, Start(kind, None, who))

    def _start(self, tensor: torch.Tensor, start: Start) -> None:
        key = _key(tensor)
        if key not in self._alive:
            self._alive[key] = StorageWeakRef(tensor.untyped_storage())
        self._starts[key] = start

    def _meant(self, tensor: torch.Tensor, start: Start) -> Values | None:
        """Return what values say that stand for something; None for those that do not."""
        if start.kind != "written" or not (tensor.is_floating_point() or tensor.is_complex()):
            return None
        values = look_at(tensor)
        if values.kind == "constant":
            return values if values.mean not in (0.0, 1.0) or start.chosen else None
        if values.kind == "random":
            return None if values.centred_on(0.0) or values.centred_on(1.0) else values
        return values if values.kind in ("structured", "few") else None

    def _sweeps(self, line: str) -> bool:
        """Whether a line wrote to more than one memory."""
        return len(self._lines[line]) > 1


def _is_write(name: str) -> bool:
    if name == "__setitem__" or (name.startswith("__i") and name.endswith("__")):
        return True
    return name.endswith("_") and not name.endswith("__")


def _is_total(name: str) -> bool:
    """Whether a write leaves nothing of the old values in its region."""
    return name in RANDOM or name in OVERWRITES


def _is_plain(tensor: Any) -> bool:
    """Whether it has memory of its own that tells what it holds."""
    return (
        isinstance(tensor, torch.Tensor)
        and type(tensor) in (torch.Tensor, nn.Parameter)
        and tensor.layout is torch.strided
        and not tensor.is_meta
        and not tensor.is_quantized
        and tensor.numel() > 0
    )


def _key(tensor: torch.Tensor) -> int:
    return storage_key(tensor)


def _region(tensor: torch.Tensor) -> object:
    if tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes():
        return None
    return tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def _is_constant(tensor: torch.Tensor) -> bool:
    flat = tensor.detach().reshape(-1)
    return bool((flat == flat[0]).all())


def _is_same(before: torch.Tensor, now: torch.Tensor) -> bool:
    """Whether values are the same but for rounding to a shorter type."""
    if before.shape != now.shape:
        return False
    exact = torch.promote_types(before.dtype, now.dtype)
    eps = 8 * max(torch.finfo(t.dtype).eps for t in (before, now))
    return torch.allclose(
        before.to(exact), now.detach().to(exact), rtol=eps, atol=0, equal_nan=True
    )


def _is_drawn_alike(before: torch.Tensor, now: torch.Tensor) -> bool:
    """Whether two tensors may be draws from one distribution, by mean and standard deviation."""
    x, y = (doubled(in_reals(t.detach())).reshape(-1) for t in (before, now))
    if len(x) != len(y) or len(x) < 2:
        return False
    sx, sy, error = float(x.std()), float(y.std()), ERRORS / math.sqrt(len(x))
    if not (math.isfinite(sx * sy) and sx * sy):
        return False
    near = abs(float(x.mean() - y.mean())) <= error * math.hypot(sx, sy)
    return near and abs(math.log(sx / sy)) <= error


def _law(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """A call with its numbers."""
    numbers = [repr(a) for a in args[1:] if isinstance(a, (int, float, str))]
    numbers += [f"{k}={v!r}" for k, v in kwargs.items() if isinstance(v, (int, float, str))]
    return f"{name}({', '.join(numbers)})"
