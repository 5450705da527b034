"""Recorded torch calls, made once more: on arrays, or with other tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch

from isoinit._reading.graph import (
    Array,
    Mixed,
    Pull,
    Replay,
    ReplayError,
    Times,
    elementwise,
    first_line,
)
from isoinit._reading.torch.calls import CASTS, function_name, is_pointwise, is_writer, mask_of
from isoinit._reading.torch.constants import Constant
from isoinit._reading.torch.numbers import doubled
from isoinit._reading.torch.placeholders import Input, Number, Table, plain_data
from isoinit._reading.torch.real import on_real_memory, one_thread
from isoinit._reading.torch.trees import map_leaves, tensors_in
from isoinit._system.private import unset_fake_temporarily

# Functions of single elements that look each one up in a row of numbers, and where that stands.
CHANCE = 1e-3  # of a second moment: what so few draws leave of a mean of zero
FEW, MOST = 512, 64  # numbers of a result that is kept, and results of one call
TABLES = {"getitem": 0, "take": 0, "bucketize": 1, "searchsorted": 0}


class Recorded(NamedTuple):
    """A call of a torch function, as it was made."""

    function: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    def again(self, other: Callable[[Any], Any]) -> Any:
        """Make the call once more, with what `other` gives for each leaf of its arguments."""
        args, kwargs = map_leaves(other, (list(self.args), dict(self.kwargs)))
        return self.function(*args, **kwargs)


class Played(NamedTuple):
    """A call as a function of arrays.

    Attributes:
        replay: of arrays in place of the inputs; None where there is none.
        mixed: the same where constant tensors of several values take part.
        reason: why there is no replay; empty where there is one.
        rank: the number of axes of the input that has most.
        pull: the gradient of the replay.
        chance: what chance does to the second moment of every element: see `Op`.
        single: whether the replay is known to be a function of single elements.
    """

    replay: Replay | None
    mixed: Mixed | None = None
    reason: str = ""
    rank: int = 1
    pull: Pull | None = None
    chance: float = 1.0
    single: bool = False


def replay_of(
    call: Recorded,
    number_of: Callable[[torch.Tensor], int | None],
    known: Callable[[torch.Tensor], Constant | None] = Constant,
    made: Sequence[torch.Tensor] = (),
    inputs: Sequence[int] = (),
) -> Played:
    """Return a call as a function of arrays.

    Args:
        call: the call; none of its tensors is kept.
        number_of: the number of a tensor that an array will stand for; None for a constant.
        known: what is known of a constant; None where a tensor is none.
        made: what the call returned; a cast is replayed as one to the same kind of numbers.
        inputs: the numbers that arrays will be given for; by default each in the order of the call.
    """
    call = _plain(call, made)
    tensors = [*tensors_in((call.args, call.kwargs)), *made]
    if any(tensor.is_complex() for tensor in tensors):
        return Played(None, None, "computes with complex numbers")
    sparse = any(tensor.layout not in (torch.strided, torch.jagged) for tensor in made)
    if sparse or any(tensor.is_nested and tensor.layout is torch.strided for tensor in tensors):
        return Played(None, None, "works on a tensor that is not dense")
    holder = _Holder(call, number_of, known, inputs)
    try:
        args, kwargs = map_leaves(holder.held, (list(call.args), dict(call.kwargs)))
    except ReplayError as refusal:
        return Played(None, None, f"reads {refusal}", holder.rank)
    function = _masked_write if _writes_by_mask(call) else call.function
    replay = _alike(Recorded(function, args, kwargs), max(len(made), 1))
    rows, rank = holder.rows, holder.rank
    if holder.drawn and len(holder.order) == 1 and (kept := _kept(replay, rows)) is not None:
        return kept._replace(rank=rank)
    if rows:
        why = "reads a constant tensor of several values"
        return Played(None, Mixed(replay, tuple(rows), replay.pull), why, rank)
    return Played(replay, rank=rank, pull=replay.pull, single=is_pointwise(function))


class _Holder:
    """Puts placeholders in the place of a call's tensors.

    Args:
        call: the call.
        number_of: as for `replay_of`.
        known: as for `replay_of`.
        inputs: as for `replay_of`.
    """

    def __init__(
        self,
        call: Recorded,
        number_of: Callable[[torch.Tensor], int | None],
        known: Callable[[torch.Tensor], Constant | None],
        inputs: Sequence[int],
    ) -> None:
        self._number_of, self._known, self._table = number_of, known, _looked_up(call)
        self._shapes: dict[int, tuple[int, ...]] = {}
        for tensor in tensors_in((call.args, call.kwargs)):
            if (value := number_of(tensor)) is not None:
                self._shapes.setdefault(value, tuple(tensor.shape))
        self.order = list(inputs or self._shapes)
        self.rank = max((len(shape) for shape in self._shapes.values()), default=1)
        self.rows: list[Array] = []  # the values of constants that have several
        self.drawn = False  # whether any of these is left to chance

    def held(self, leaf: Any) -> Any:
        """Return what stands for a leaf of the call's arguments.

        Raises:
            ReplayError: if nothing can.
        """
        if isinstance(leaf, torch.dtype):
            return torch.float64 if leaf.is_floating_point else leaf
        if isinstance(leaf, torch.device):
            return torch.device("cpu")
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if (value := self._number_of(leaf)) is not None:
            if value not in self.order:
                raise ReplayError("indices of the signal")
            return Input(self.order.index(value))
        if (constant := self._known(leaf)) is None:
            raise ReplayError("a parameter")
        if (number := constant.number) is not None:
            return Number(number, leaf.dim() > 0, self._alike(tuple(leaf.shape)))
        if leaf is self._table:
            with on_real_memory():
                return _double(constant.values)
        self.rows.append(constant.sampled)
        self.drawn |= constant.draw is not None
        return Table(len(self.order) + len(self.rows) - 1)

    def _alike(self, shape: tuple[int, ...]) -> int | None:
        """Return the position of an input of this shape, if there is one."""
        known = (value for value, other in self._shapes.items() if other == shape)
        return next((self.order.index(value) for value in known if value in self.order), None)


def _kept(replay: Replay, rows: Sequence[Array]) -> Played | None:
    """Return what chance is on average that multiplies each element by itself, as dropout does.

    None if it does something else, or its mean is zero: then it is noise.
    """
    length = min(row.size for row in rows)
    tables = [row[:length] for row in rows]
    try:
        none, once, twice = (replay([np.full(length, x), *tables])[0] for x in (0.0, 1.0, 2.0))
    except ReplayError:
        return None
    if once.shape != (length,) or none.any() or not np.allclose(twice, 2 * once):
        return None
    mean, second = float(once.mean()), float(np.square(once).mean())
    if not mean**2 > CHANCE * second:
        return None
    mean = float(f"{mean:.4g}")
    times = Times(mean)
    return Played(times, pull=times.pull, chance=second / mean**2)


def composed(
    before: Callable[[Array], Array] | None, replay: Replay | None
) -> Callable[[Array], Array] | None:
    """Return a function of a parameter's elements with one more step; None if not elementwise.

    Args:
        before: the function so far; None where there is none.
        replay: the step; None where it cannot be replayed.
    """
    if replay is None:
        return None

    def function(elements: Array) -> Array:
        return replay([elements if before is None else before(elements)])[0]

    few = np.linspace(-2.0, 2.0, 6)
    try:
        elementwise(lambda rows: function(rows[0]), [few], rtol=1e-9, atol=1e-12)
    except ReplayError:  # the operations that a parameter went through are named beside its use
        return None
    return function


def _plain(call: Recorded, made: Sequence[torch.Tensor]) -> Recorded:
    """Return a call without the tensor that it writes to, and a cast as one of dtypes alone."""
    if made and function_name(call.function) in CASTS:
        return Recorded(torch.Tensor.to, (call.args[0], made[0].dtype), {})
    return call._replace(kwargs={k: v for k, v in call.kwargs.items() if k != "out"})


@dataclass(eq=False)
class _Replayed:
    """A recorded call as a function of arrays, and the gradient of that function.

    Attributes:
        template: the call, with placeholders where the arrays go.
        outputs: how many arrays it gives.
        sober: whether it is known to draw no random numbers: asked once, since it always does or
            never.
        known: what it made of few numbers, which are the same ones again and again: a grid.
    """

    template: Recorded
    outputs: int
    sober: bool = False
    known: dict[Any, Sequence[Array]] = field(default_factory=dict)

    def __call__(self, arrays: Sequence[Array]) -> Sequence[Array]:
        """Return what the call makes of arrays."""
        if sum(array.size for array in arrays) > FEW:
            return self._made(arrays)
        given = tuple((array.shape, array.dtype.char, array.tobytes()) for array in arrays)
        if (found := self.known.get(given)) is None:
            found = self._made(arrays)
            if len(self.known) < MOST and sum(array.size for array in found) <= FEW:
                self.known[given] = found
        return [array.copy() for array in found]

    def _made(self, arrays: Sequence[Array]) -> Sequence[Array]:
        if self._pure:
            with unset_fake_temporarily(), one_thread():
                given = [torch.from_numpy(_plain_array(array)) for array in arrays]
                (result,) = self._run(given)
                if any(result.data_ptr() == tensor.data_ptr() for tensor in given):
                    result = result.clone()
                return self._real([_double(result).numpy()])
        with on_real_memory(draws=not self.sober), one_thread():
            made = self._run([torch.from_numpy(array.copy()) for array in arrays])  # maybe in place
            found = [_double(tensor).numpy() for tensor in made]
        self.sober = True
        return self._real(found)

    def _real(self, found: list[Array]) -> list[Array]:
        if len(found) != self.outputs or any(array.dtype.kind == "c" for array in found):
            raise ReplayError("does not give as many real tensors as it did")
        return found

    @cached_property
    def _pure(self) -> bool:
        """Whether it gives one new array: of single elements, by no chance, and written in none."""
        function, _, kwargs = self.template
        return is_pointwise(function) and not (is_writer(function) or kwargs.get("inplace"))

    def pull(self, arrays: Sequence[Array], gradient: Array) -> Sequence[Array]:
        """Return the gradient by each array, given that by the one output: torch's, by autograd.

        A jump, and what does not depend on an array differentiably, gives zeros.
        """
        if self._sign is not None:
            return [gradient, self._sign * gradient]
        # What draws random numbers was refused when it was called.
        with (
            unset_fake_temporarily(),
            torch.inference_mode(False),
            torch.enable_grad(),
            one_thread(),
        ):
            given = [torch.from_numpy(array) for array in arrays]
            leaves = [t.requires_grad_() if t.is_floating_point() else t for t in given]
            made = self._run([leaf.clone() for leaf in leaves])  # the call may be in place
            if len(made) != 1 or made[0].shape != gradient.shape:
                raise ReplayError("does not give one number for each of its inputs")
            carry = [leaf for leaf in leaves if leaf.requires_grad]
            if not made[0].requires_grad or not carry:
                return [np.zeros(array.shape) for array in arrays]
            sent = torch.from_numpy(gradient).to(made[0].dtype)
            try:
                given_back = torch.autograd.grad(made[0], carry, sent, materialize_grads=True)
            except RuntimeError as error:  # torch has no derivative for it
                raise ReplayError(f"has no gradient: {first_line(error)}") from error
            found = iter(given_back)
            return [
                next(found).detach().numpy() if leaf.requires_grad else np.zeros(leaf.shape)
                for leaf in leaves
            ]

    @cached_property
    def _sign(self) -> float | None:
        """Of a plain sum or difference of two arrays, the sign of the second; None for the rest."""
        function, args, kwargs = self.template
        places = [leaf.position for leaf in args if isinstance(leaf, Input)]
        plain = places == [0, 1] and len(args) == 2 and not kwargs
        return {"add": 1.0, "sub": -1.0}.get(function_name(function)) if plain else None

    def _run(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        template = self.template
        args, kwargs = map_leaves(partial(_given, tensors), (template.args, template.kwargs))
        try:
            result = template.function(*args, **kwargs)
        except Exception as error:  # whatever torch raises on other shapes or dtypes
            raise ReplayError(f"cannot be replayed: {first_line(error)}") from error
        return list(tensors_in(args[0] if result is None else result))


# Replays by what they call: alike layers of a model share theirs, as long as there is one.
_replays: WeakValueDictionary[Any, _Replayed] = WeakValueDictionary()


def _alike(template: Recorded, outputs: int) -> _Replayed:
    """Return the replay of a call: that of an equal one, if that is still there."""
    try:
        called = template.function, plain_data((template.args, template.kwargs)), outputs
        found = _replays.get(called)
    except TypeError:  # an argument that cannot be compared
        return _Replayed(template, outputs)
    if found is None:
        found = _replays[called] = _Replayed(template, outputs)
    return found


def _given(tensors: Sequence[torch.Tensor], leaf: Any) -> Any:
    """Return what stands for a leaf of a recorded call, of the tensors given for its inputs."""
    if isinstance(leaf, (Input, Table)):
        return tensors[leaf.position]
    if not isinstance(leaf, Number):
        return leaf
    if leaf.like is not None:
        return leaf.value.expand(tensors[leaf.like].shape).clone()
    return leaf.value.reshape(1) if leaf.axes else leaf.value


def _plain_array(array: Array) -> Array:
    """Return an array that torch can read where it lies, or a copy."""
    return array if array.flags.c_contiguous and array.flags.writeable else array.copy()


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return doubled(tensor) if tensor.is_floating_point() else tensor


def _writes_by_mask(call: Recorded) -> bool:
    """Return whether a call is `x[mask] = value`, in any spelling."""
    writes = function_name(call.function) in ("setitem", "index_put")
    return writes and len(call.args) == 3 and not call.kwargs and mask_of(call.args[1]) is not None


def _looked_up(call: Recorded) -> Any:
    """Return the row of numbers that every element is looked up in; None where there is none."""
    at = TABLES.get(function_name(call.function), len(call.args))
    table = call.args[at] if at < len(call.args) else None
    return table if isinstance(table, torch.Tensor) and table.dim() == 1 else None


def _masked_write(target: torch.Tensor, index: Any, value: Any) -> torch.Tensor:
    """Return `target` after `target[mask] = value`.

    Selecting by a mask leaves rows as they are (`calls.selects_by_mask`), so a value as large as the
    target was selected by the same mask.
    """
    mask = mask_of(index)
    assert mask is not None, "the recorded index was one"
    if isinstance(value, torch.Tensor) and value.shape == target.shape:
        return torch.where(mask, value.to(target.dtype), target)
    target[mask] = value
    return target
