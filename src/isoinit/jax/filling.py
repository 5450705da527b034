"""Fills a tree of arrays by a plan: each device's shard is drawn by itself, whatever the sharding."""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Sharding

from isoinit._drawing.streams.laws import dtype_named
from isoinit._writing.entry import Entry
from isoinit._writing.seeds import as_whole
from isoinit._writing.slice import fill_slice
from isoinit.errors import ArgumentError, IsoinitError, PlanError
from isoinit.jax.rehearsal import exact_on
from isoinit.jax.shardings import Asked, asked_for, is_array, own
from isoinit.jax.spelling import every_leaf, with_leaves
from isoinit.jax.streams import in_graph

Array = np.ndarray[Any, Any]
Spans = tuple[tuple[int, int], ...]
ALIGNED = 64  # bytes: JAX takes such memory over without a copy on a processor
PROCESSORS = frozenset({"cpu"})  # platforms that gain nothing by a compiled draw
WORTH = 1 << 27  # elements of one program: for fewer, compiling takes longer than handing them over


class Planned(Protocol):
    """What is read of a plan, and written into it: see `isoinit.Plan`."""

    entries: dict[str, Entry]
    aliases: dict[str, str]
    seed: int | None


def fill(plan: Planned, params: Any, seed: int | None = 0, *, sharding: Asked = None) -> Any:
    """Return a new tree of the values that a plan gives: see `isoinit.Plan.fill`."""
    leaves = every_leaf(params)
    drawn = entries_to_draw(plan, leaves)
    asked = asked_for(params, leaves, sharding)
    used = resolved(seed)
    large = _worth_compiling(drawn)
    values = {
        name: _drawn(drawn[name], leaf, asked.get(name, own(leaf)), used, name in large)
        if name in drawn
        else _kept(leaf, asked.get(name))
        for name, leaf in leaves.items()
        if is_array(leaf)
    }
    plan.seed = used
    return with_leaves(params, values)


def entries_to_draw(plan: Planned, leaves: Mapping[str, Any]) -> dict[str, Entry]:
    """Return the entries of the leaves that are drawn, by the leaves' names; the others are kept.

    Raises:
        PlanError: naming every leaf that does not fit the plan, or cannot be drawn or kept.
        ArgumentError: if the leaves are traced.
    """
    planned = {name: plan.entries.get(plan.aliases.get(name, name)) for name in leaves}
    _refuse_mismatch(plan, planned, leaves)
    _refuse_unfillable(planned, leaves)
    return {name: e for name, e in planned.items() if e is not None and e.initializer is not None}


def resolved(seed: int | None) -> int:
    """Return an integer; None draws one from the system, since JAX has no generator of its own."""
    if seed is not None:
        return as_whole(seed, "to draw one from the system's entropy")
    if jax.process_count() > 1:
        raise ArgumentError(
            f"seed=None would give each of {jax.process_count()} processes different weights; "
            "expected one integer, the same in all processes"
        )
    return secrets.randbits(63)


def _refuse_mismatch(
    plan: Planned, planned: Mapping[str, Entry | None], leaves: Mapping[str, Any]
) -> None:
    """Raise for arrays that are not those of the plan, all of them at once."""
    held = {plan.aliases.get(n, n) for n, leaf in leaves.items() if is_array(leaf)}
    faults = [_missing(n, leaves.get(n)) for n in plan.entries if n not in held]
    for name, leaf in leaves.items():
        if not is_array(leaf):
            continue
        entry = planned[name]
        if entry is None:
            if jax.numpy.issubdtype(leaf.dtype, np.inexact):
                faults.append(f"the plan has no entry for {name!r}")
        elif tuple(leaf.shape) != entry.shape:
            faults.append(
                f"{name!r} has shape {tuple(leaf.shape)}, but the plan expects {entry.shape}"
            )
        elif leaf.dtype.name != entry.dtype:
            faults.append(f"{name!r} is {leaf.dtype}, but the plan expects {entry.dtype}")
    if faults:
        raise PlanError(
            f"nothing was drawn: {'; '.join(faults)}. Make the plan from this tree, or fill the "
            "tree that it was made from (for a torch model, use plan.apply)"
        )


def _missing(name: str, leaf: Any) -> str:
    if leaf is None:
        return f"params has no array called {name!r}"
    return f"{name!r} is a {type(leaf).__name__}, not an array of JAX or NumPy"


def _refuse_unfillable(planned: Mapping[str, Entry | None], leaves: Mapping[str, Any]) -> None:
    """Raise for leaves that cannot be drawn, or cannot keep their values, all of them at once."""
    faults = []
    for name, leaf in leaves.items():
        if isinstance(leaf, jax.core.Tracer):
            raise ArgumentError(
                f"{name!r} is traced. Fill outside jit and other transformations, and pass the "
                "filled tree as an argument"
            )
        entry = planned[name]
        if entry is not None and entry.initializer is not None:
            why = _undrawable(entry, leaf)
        else:
            why = _valueless(leaf, entry)
        if why:
            faults.append(f"{name!r} {why}")
    if faults:
        raise PlanError(f"nothing was drawn: {'; '.join(faults)}")


def _undrawable(entry: Entry, leaf: Any) -> str:
    """Return why no values can be drawn for a leaf of the entry's shape and type; "" if they can."""
    assert entry.initializer is not None
    dtype = dtype_named(entry.dtype)
    if dtype is None:
        return f"is {entry.dtype}; expected float32, float64, float16, bfloat16 or a complex type"
    if jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype:
        return (
            f"is {entry.dtype}, which JAX supports only after jax.config.update('jax_enable_x64', "
            "True)"
        )
    try:
        entry.require_fit(entry.initializer)
        entry.initializer.draws_alone(entry.layout, dtype)  # refuses what only a model knows
    except IsoinitError as error:
        return f"cannot be filled: {error}"
    return ""


def _valueless(leaf: Any, entry: Entry | None) -> str:
    """Return why a leaf that is to be kept has no values; "" if it has."""
    said = "is kept unchanged" + (f" ({entry.reason})" if entry is not None else "")
    if isinstance(leaf, jax.ShapeDtypeStruct) and entry is not None:
        return (
            f"{said}, but is a ShapeDtypeStruct and has no values: give it an initializer, "
            "plan[...] = ..., or replace it with an array"
        )
    if isinstance(leaf, jax.Array) and leaf.is_deleted():
        return (
            f"{said}, but its values no longer exist: the array was deleted, or donated to a "
            "jitted function"
        )
    return ""


def _kept(leaf: Any, asked: Sharding | None) -> Any:
    """Return a leaf as it is, or moved to the sharding that was asked for."""
    if asked is None or isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if isinstance(leaf, np.ndarray):
        dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
        copied = np.array(leaf)  # JAX would share the memory with whoever writes into it later
        return jax.make_array_from_callback(leaf.shape, asked, copied.__getitem__, dtype)
    return jax.device_put(leaf, asked)


def _drawn(entry: Entry, leaf: Any, sharding: Sharding | None, seed: int, large: bool) -> jax.Array:
    """Return an array of the values of an entry: only this process's shards are drawn."""
    if large and (made := _drawn_there(entry, leaf, sharding, seed)) is not None:
        return made
    parts = _Parts(entry, np.dtype(leaf.dtype), seed)
    if sharding is not None:
        indices = sharding.addressable_devices_indices_map(entry.shape).values()
        parts.prepare({_spans(index, entry.shape) for index in indices if index is not None})
        return jax.make_array_from_callback(entry.shape, sharding, parts.at, parts.dtype)
    with _by_default(leaf):
        placed_by_default: jax.Array = jax.device_put(parts.at((slice(None),) * len(entry.shape)))
        return placed_by_default


def _worth_compiling(drawn: Mapping[str, Entry]) -> set[str]:
    """Return the parameters for which a draw is worth compiling: those of one form share a program."""

    def form(entry: Entry) -> tuple[Any, ...]:
        return type(entry.initializer), entry.shape, entry.dtype

    elements = Counter[tuple[Any, ...]]()
    for entry in drawn.values():
        elements[form(entry)] += math.prod(entry.shape)
    return {name for name, entry in drawn.items() if elements[form(entry)] >= WORTH}


def _drawn_there(entry: Entry, leaf: Any, sharding: Sharding | None, seed: int) -> jax.Array | None:
    """Return an array that its accelerators draw themselves; None where the processor hands it over.

    That is the case for values that depend on each other, and where a device does not compute the
    processor's bits. Of several processes each draws for itself: a compiled program would have all of
    them wait for each other.
    """
    with _by_default(leaf):
        devices = sharding.device_set if sharding is not None else jax.numpy.zeros(()).devices()
        if any(device.platform in PROCESSORS for device in devices):
            return None
        if jax.process_count() > 1 or (sharding is not None and _elsewhere(sharding)):
            return None
        assert entry.initializer is not None
        make = in_graph(
            entry.initializer, entry.layout, entry.key, seed, leaf.dtype, sharding=sharding
        )
        if make is None or not all(exact_on(device, leaf.dtype) for device in devices):
            return None
        return make()


def _elsewhere(sharding: Sharding) -> bool:
    """Whether an array lies in another memory than the devices' own, such as the host's."""
    device: Any = next(iter(sharding.device_set))
    return sharding.memory_kind not in (None, device.default_memory().kind)


def _by_default(leaf: Any) -> AbstractContextManager[Any]:
    """Return a context in which JAX places by default what it placed so for a leaf."""
    if not isinstance(leaf, jax.Array) or leaf.committed:
        return nullcontext()
    context: AbstractContextManager[Any] = jax.default_device(next(iter(leaf.devices())))
    return context


class _Parts:
    """The parts of one parameter, each drawn once for all devices that hold it."""

    def __init__(self, entry: Entry, dtype: np.dtype[Any], seed: int) -> None:
        self.entry, self.dtype, self.seed = entry, dtype, seed
        self.done: dict[Spans, Array] = {}
        self.around: tuple[Spans, Array] | None = None

    def prepare(self, wanted: set[Spans]) -> None:
        """Draw once what several parts would each draw anew: where elements depend on each other."""
        initializer, drawn = self.entry.initializer, dtype_named(self.entry.dtype)
        assert initializer is not None
        assert drawn is not None
        if len(wanted) < 2 or initializer.draws_alone(self.entry.layout, drawn):
            return
        axes = zip(*wanted, strict=True)
        box = tuple((min(a for a, _ in axis), max(b for _, b in axis)) for axis in axes)
        self.around = box, self.draw(box)

    def at(self, index: tuple[slice, ...] | None) -> Array:
        """Return the values at an index, as `make_array_from_callback` asks for them."""
        assert index is not None, "JAX asks for the shards of this process alone"
        spans = _spans(index, self.entry.shape)
        if spans not in self.done:
            self.done[spans] = self.cut(spans) if self.around else self.draw(spans)
        return self.done[spans]

    def draw(self, spans: Spans) -> Array:
        """Draw a part."""
        entry = self.entry
        assert entry.initializer is not None
        out = _aligned(tuple(last - first for first, last in spans), self.dtype)
        here = [slice(first, last) for first, last in spans]
        return fill_slice(
            out, entry.initializer, entry.key, entry.shape, here, self.seed, layout=entry.layout
        )

    def cut(self, spans: Spans) -> Array:
        """Cut a part from what was drawn around all of them."""
        assert self.around is not None
        box, values = self.around
        pairs = zip(spans, box, strict=True)
        some = values[tuple(slice(a - first, b - first) for (a, b), (first, _) in pairs)]
        if some.flags.c_contiguous and some.ctypes.data % ALIGNED == 0:
            return some
        out = _aligned(some.shape, some.dtype)
        out[...] = some
        return out


def _spans(index: tuple[slice, ...], shape: tuple[int, ...]) -> Spans:
    return tuple(one.indices(size)[:2] for one, size in zip(index, shape, strict=True))


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array whose memory JAX takes over on a processor; elsewhere it is copied anyway."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = np.empty(size + ALIGNED, np.uint8)
    first = -memory.ctypes.data % ALIGNED
    return memory[first : first + size].view(dtype).reshape(shape)
