"""Records each torch call of a forward pass as an operation of a graph."""

from __future__ import annotations

import dataclasses
import re
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.overrides import TorchFunctionMode, resolve_name

from isoinit._reading.graph import SUMS, Array, Detail, Given, Graph, Kind, Op, Use
from isoinit._reading.torch.details import BESIDE, Constant, constant, detail
from isoinit._reading.torch.readers import READERS, Call, Weight
from isoinit.errors import TraceError
from isoinit.initializers.scale import fans

Replay = Callable[[Sequence[Array]], Array]
Observer = Callable[[Op, tuple[torch.Tensor, ...]], None]

# Rearrangements: each output is an input, or a part, a maximum or an average of inputs of one unit.
MOVES = frozenset(
    """view reshape flatten unflatten transpose permute t T mT swapaxes swapdims movedim squeeze
    unsqueeze expand expand_as repeat repeat_interleave tile contiguous clone detach to type float
    double half bfloat16 view_as reshape_as chunk split tensor_split unbind getitem select narrow
    flip roll unfold index_select gather take_along_dim pad dropout dropout1d dropout2d dropout3d
    alpha_dropout feature_alpha_dropout max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d
    avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d interpolate pixel_shuffle pixel_unshuffle
    channel_shuffle checkpoint requires_grad masked_fill type_as cpu cuda""".split()
)
# Their outputs do not depend on the values of their inputs.
SHAPE_ONLY = frozenset(
    """size numel dim stride storage_offset zeros_like ones_like empty_like rand_like randn_like
    full_like new_zeros new_ones new_empty new_full new_tensor is_floating_point data_ptr""".split()
)

GATHERS = frozenset({"getitem", "index_select"})  # of a stack, one matrix for each example
# Calls that write into their first argument besides those whose names end in an underscore.
WRITERS = frozenset(
    """__setitem__ __set__ __iadd__ __isub__ __imul__ __itruediv__ __idiv__ __ifloordiv__ __imod__
    __ipow__ __imatmul__ __iand__ __ior__ __ixor__""".split()
)
MULTIPLY = frozenset("linear conv1d conv2d conv3d matmul mm bmm addmm baddbmm".split())
NO_DETAIL = Detail()
# A loop that waits for data to converge may never end on an example, and fake tensors have none. A
# transformer of 1,000 layers makes about 70,000 calls.
MOST_CALLS = 300_000


@dataclass(frozen=True)
class _Placeholder:
    """Stands for an input in a recorded call."""

    position: int


T = TypeVar("T")


class _Known(Generic[T]):
    """What is known of tensors, by identity.

    None of them is kept alive: a run under the recorder takes no more memory than it would without.
    """

    def __init__(self) -> None:
        self._held: dict[int, tuple[weakref.ref[torch.Tensor], T]] = {}

    def __setitem__(self, tensor: torch.Tensor, what: T) -> None:
        self._held[id(tensor)] = (weakref.ref(tensor), what)

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return self.get(tensor) is not None

    def get(self, tensor: torch.Tensor) -> T | None:
        """What is known of a tensor: this very one, and none that was at its place before."""
        known = self._held.get(id(tensor))
        return known[1] if known is not None and known[0]() is tensor else None


class Recorder(TorchFunctionMode):
    """Records what runs inside its `with` block.

    Args:
        shapes: the shape of each parameter, by name.
        aliases: the other names of tied parameters, and the name that each goes by.
        observe: called with each operation and the tensors it made, as they are made.
        before_write: called with each tensor that a call is about to write into.
    """

    def __init__(
        self,
        shapes: dict[str, tuple[int, ...]],
        aliases: dict[str, str],
        observe: Observer | None = None,
        before_write: Callable[[torch.Tensor], None] | None = None,
    ) -> None:
        super().__init__()
        self.ops: list[Op] = []
        self.call: tuple[Any, Any, Any] = (None, (), {})  # the last: function, arguments, by name
        self._shapes, self._aliases, self._observe = shapes, aliases, observe
        self._before_write = before_write
        self._count = self._calls = 0
        self._sizes: dict[int, tuple[int, ...]] = {}
        self._values: _Known[int] = _Known()
        self._weights: _Known[Weight] = _Known()
        self._constants: _Known[Constant] = _Known()
        self._given: dict[int, Given] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = function_name(func)
        self._calls += 1
        if self._calls > MOST_CALLS:
            raise TraceError(
                f"it made more than {MOST_CALLS:,} torch calls: a loop that does not end, or one "
                "that ends only for other data; pass an example on which it ends soon"
            )
        if name in MULTIPLY:
            _refuse_mixed_types(name, [*args, *kwargs.values()])
        if self._before_write is not None:
            for tensor in _written(func, args, kwargs):
                self._before_write(tensor)
        if name == "grouped_mm" and args and isinstance(args[0], FakeTensor):
            result = _fake_grouped_mm(func, args, kwargs)
        else:
            result = func(*args, **kwargs)
        if name not in SHAPE_ONLY:
            made = [args[0]] if name == "setitem" else list(tensors_in(result))
            if made:
                self._note(func, name, args, kwargs, made)
        return result

    def mark_parameter(self, tensor: torch.Tensor, name: str) -> None:
        """Say that the forward will meet this tensor as the parameter of this name."""
        self._weights[tensor] = Weight(tensor, (name,), self._shapes, exact=True)

    def mark_value(self, tensor: torch.Tensor, value: int | None = None) -> None:
        """Say that a tensor is part of the example, or holds the value of that number."""
        if value is None:
            self._new_value(tensor)
        else:
            self._values[tensor] = value

    def mark_constant(self, tensor: torch.Tensor, real: torch.Tensor) -> None:
        """Say that a tensor is a buffer, or stands for this real one."""
        self._constants[tensor] = Constant(real)

    def mark_given(self, tensor: torch.Tensor, given: Given | None) -> None:
        """Say that a tensor is part of the example, of these moments where they are known."""
        value = self._new_value(tensor)
        if given is not None:
            self._given[value] = given

    def run(self, model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run the model on an example, recording; returns what the model returns."""
        for tensor in tensors_in((args, kwargs)):
            if self.value(tensor) is None:
                self.mark_given(tensor, moments_of(tensor))
        with self:
            return model(*args, **kwargs)

    def graph(self, result: Any, how: str) -> Graph:
        """Everything recorded, as a graph whose outputs are the tensors in `result`."""
        outputs = [self.value(tensor) for tensor in tensors_in(result)]
        found = tuple(value for value in outputs if value is not None)
        return Graph(
            tuple(self.ops), self._sizes, self._shapes, found, how, self._aliases, self._given
        )

    def _note(
        self, func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any], made: list[Any]
    ) -> None:
        tensors = list(tensors_in((args, kwargs)))
        values = [value for t in tensors if (value := self.value(t)) is not None]
        weights = [weight for t in tensors if (weight := self._weight(t)) is not None]
        moved = name in MOVES
        if not values and not weights:
            before = [known for t in tensors if (known := self._constant(t)) is not None]
            for tensor in made:
                self._constants[tensor] = constant(name, args, tensor, before, moved=moved)
            return
        replay = None
        call = Call(name, args, kwargs, self._weight, self._value_of, self._producer)
        if name in READERS and (steps := READERS[name](call)):
            for step in steps[:-1]:  # a composite, such as attention with its projections
                self._add(step.name, step.kind, step.inputs, [self._number()], step.uses, None)
            last = steps[-1]
            inputs = last.inputs if len(steps) == 1 else self.ops[-1].outputs
        elif not values or (name in GATHERS and self._weight(call.get(0, "input"))):
            self._derive(func, name, args, kwargs, weights, made)
            return
        else:
            last = call.generic("move" if moved else "other")
            inputs = last.inputs
            if not weights and last.kind != "move":
                replay = _replay(func, args, kwargs, self.value)
        outputs = [self._new_value(tensor) for tensor in made]
        told = detail(func, name, args, kwargs, made, moved=moved, known=self._constant)
        op = self._add(last.name, last.kind, inputs, outputs, last.uses, replay, told)
        if self._observe is not None:
            self.call = func, args, kwargs
            self._observe(op, tuple(made))

    def _add(
        self,
        name: str,
        kind: Kind,
        inputs: Sequence[int],
        outputs: Sequence[int],
        uses: Sequence[Use],
        replay: Any,
        told: Detail = NO_DETAIL,
    ) -> Op:
        op = Op(len(self.ops), name, kind, tuple(inputs), tuple(outputs), tuple(uses), replay, told)
        self.ops.append(op)
        return op

    def _derive(
        self,
        func: Any,
        name: str,
        args: Sequence[Any],
        kwargs: Any,
        weights: list[Weight],
        made: Any,
    ) -> None:
        """A tensor made of parameters alone: a view of one, or a function of some."""
        first = weights[0]
        if name == "scatter_kept":  # by `isoinit.sparse`: what a weight keeps, and its zeros
            for tensor in made:
                shapes = {**self._shapes, first.names[0]: tuple(tensor.shape)}
                stored = tuple(first.tensor.shape)
                self._weights[tensor] = Weight(tensor, first.names, shapes, exact=True, kept=stored)
            return
        names = tuple(dict.fromkeys(name for weight in weights for name in weight.names))
        moved = len(weights) == 1 and (name in MOVES or _adds_mask(name, args, first.tensor))
        exact = moved and first.exact
        beside = name in BESIDE and all(weight.exact or weight.joined for weight in weights)
        joined = beside or (moved and first.joined)
        through = tuple(dict.fromkeys(step for weight in weights for step in weight.through))
        function = first.function
        if not moved and not beside:
            replay = _replay(func, args, kwargs, lambda tensor: 0 if self._weight(tensor) else None)
            alike = all(weight.tensor is first.tensor for weight in weights)
            function = _composed(first, replay) if alike else None
            through = (*through, name)
        alone = len(weights) == 1
        shapes, kept = (first.shapes, first.kept) if alone else (self._shapes, None)
        for tensor in made:
            self._weights[tensor] = Weight(
                tensor, names, shapes, exact, joined, through, function, kept
            )

    def _number(self) -> int:
        self._count += 1
        return self._count - 1

    def _new_value(self, tensor: torch.Tensor) -> int:
        value = self._number()
        self._values[tensor] = value
        self._sizes[value] = tuple(tensor.shape)
        return value

    def value(self, tensor: Any) -> int | None:
        """The number of the value that a tensor holds; None for constants and parameters."""
        return self._values.get(tensor) if isinstance(tensor, torch.Tensor) else None

    def names(self, tensor: torch.Tensor) -> tuple[str, ...]:
        """The parameters that a tensor is, or was made of without the signal; empty for others."""
        weight = self._weight(tensor)
        return weight.names if weight else ()

    def _constant(self, tensor: Any) -> Constant | None:
        if not isinstance(tensor, torch.Tensor) or tensor in self._values:
            return None
        if tensor in self._weights:
            return None
        return self._constants.get(tensor) or Constant(tensor)

    def _weight(self, tensor: Any) -> Weight | None:
        if not isinstance(tensor, torch.Tensor) or tensor in self._values:
            return None
        return self._weights.get(tensor)

    def _value_of(self, tensor: Any) -> int | None:
        """The number of a tensor; a parameter that is used as a signal becomes a value."""
        weight = self._weight(tensor)
        if weight is None:
            return self.value(tensor)
        uses = [Use(n, "token", fans.vector(self._shapes[n])) for n in weight.names]
        value = self._new_value(tensor)
        self._add("parameter", "lookup", [], [value], uses, None)
        return value

    def _producer(self, value: int) -> Op | None:
        return next((op for op in reversed(self.ops) if value in op.outputs), None)


def moments_of(tensor: torch.Tensor) -> Given | None:
    """The moments of a real tensor of floating-point numbers; None for any other."""
    if not _is_float(tensor) or not tensor.numel() or tensor.is_meta or not tensor.dim():
        return None
    if isinstance(tensor, FakeTensor) or hasattr(tensor, "device_mesh"):
        return None
    with torch.no_grad():
        values = tensor.detach().double()
        mean, second = values.mean().item(), values.square().mean().item()
        if not np.isfinite(second):
            return None
        between = tuple(range(1, values.dim() - 1)) or None
        if values.dim() >= 4:  # images: channels first
            between = tuple(range(2, values.dim()))
        places = 1 if between is None else int(np.prod([values.shape[axis] for axis in between]))
        nearby = second if between is None else values.mean(between).square().mean().item()
        across = values.mean(0).square().mean().item()
    return Given(
        mean, second, _pairs(nearby, second, places), _pairs(across, second, values.shape[0])
    )


def _pairs(of_mean: float, second: float, count: int) -> float:
    """The mean product of two different elements, from the mean square of the mean of all."""
    return second if count < 2 else (count * of_mean - second) / (count - 1)


@cache
def function_name(func: Any) -> str:
    """The plain name of a torch function: "add" for `torch.Tensor.__iadd__` and `add_`."""
    name = getattr(func, "__name__", "unknown")
    if name == "__get__":  # a property, such as Tensor.T: only the resolved name tells which
        name = (resolve_name(func) or "unknown.__get__").split(".")[-2]
    dunder = re.fullmatch(r"__(?:[ir](?=add|sub|mul|truediv|matmul|pow))?(\w+?)__", name)
    plain = dunder.group(1) if dunder else name.strip("_")
    return {"truediv": "div", "subtract": "sub", "multiply": "mul"}.get(plain, plain)


def tensors_in(tree: Any) -> Iterator[torch.Tensor]:
    """The tensors in nested tuples, lists, mappings and dataclasses."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for item in tree:
            yield from tensors_in(item)
    elif isinstance(tree, Mapping):
        for item in tree.values():
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        for field in dataclasses.fields(tree):
            yield from tensors_in(getattr(tree, field.name))


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """The tensors that a call writes into."""
    if kwargs.get("out") is not None:
        yield from tensors_in(kwargs["out"])
    if args and (_is_writer(func) or kwargs.get("inplace")):
        yield from tensors_in(args[0])
    if kwargs.get("max_norm") is not None:  # an embedding that clips the rows it reads
        yield from tensors_in((args, kwargs))


@cache
def _is_writer(func: Any) -> bool:
    name = getattr(func, "__name__", "")
    in_place = name.endswith("_") and not name.endswith("__")
    return name in WRITERS or (in_place and name not in ("requires_grad_", "detach_"))


def _refuse_mixed_types(name: str, args: Sequence[Any]) -> None:
    """Fake tensors of two types can be multiplied; the real ones that they stand for cannot."""
    floats = [a for a in args if _is_float(a)]
    types = {a.dtype for a in floats}
    if len(types) < 2 or not any(isinstance(a, FakeTensor) for a in floats):
        return
    if not torch.is_autocast_enabled(floats[0].device.type):
        raise RuntimeError(f"{name} of {' and '.join(sorted(map(str, types)))}")


def _fake_grouped_mm(func: Any, args: Sequence[Any], kwargs: Any) -> torch.Tensor:
    """The fake kernel takes bfloat16 alone, but shapes are the same for every type."""
    halves = [a.bfloat16() if _is_float(a) else a for a in args]
    other = {key: a.bfloat16() if _is_float(a) else a for key, a in kwargs.items()}
    result: torch.Tensor = func(*halves, **other)
    return result.to(args[0].dtype)


def _adds_mask(name: str, args: Sequence[Any], weight: torch.Tensor) -> bool:
    """Whether a constant tensor is added: a table of attention biases stays one under a mask."""
    others = [a for a in args if a is not weight]
    return name in SUMS and len(others) == 1 and _is_float(others[0]) and others[0].numel() > 1


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _composed(weight: Weight, replay: Replay | None) -> Callable[[Array], Array] | None:
    """A parameter's function so far, and then one more step; None if that is not elementwise."""
    before = weight.function
    if replay is None or not weight.single:
        return None

    def function(elements: Array) -> Array:
        return replay([elements if before is None else before(elements)])

    few = np.linspace(-2.0, 2.0, 6)
    try:
        with unset_fake_temporarily():
            whole, part = function(few), function(few[:3])
    except Exception:  # not a function of single elements
        return None
    same = whole.shape == few.shape and np.array_equal(whole[:3], part, equal_nan=True)
    return function if same else None


def _replay(
    func: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    number_of: Callable[[torch.Tensor], int | None],
) -> Replay | None:
    """The call as a function of arrays; None if it reads a tensor that is not a plain number.

    `number_of` gives the number of a tensor that an array will stand for, None for constants.
    """
    inputs: list[int] = []

    def template(tree: Any) -> Any:
        if isinstance(tree, torch.Tensor):
            value = number_of(tree)
            if value is not None:
                if value not in inputs:
                    inputs.append(value)
                return _Placeholder(inputs.index(value))
            return _plain_number(tree)
        if isinstance(tree, (list, tuple)):
            return type(tree)(template(item) for item in tree)
        return tree

    try:
        held_args = [template(item) for item in args]
        held_kwargs = {key: template(item) for key, item in kwargs.items()}
    except (TypeError, ValueError):
        return None

    def replay(arrays: Sequence[Array]) -> Array:
        tensors = [torch.from_numpy(array.copy()) for array in arrays]  # the call may be in place

        def filled(tree: Any) -> Any:
            if isinstance(tree, _Placeholder):
                return tensors[tree.position]
            if isinstance(tree, (list, tuple)):
                return type(tree)(filled(item) for item in tree)
            return tree

        with torch.no_grad(), torch.device("cpu"):  # whatever device the caller has set
            result = func(*filled(held_args), **{k: filled(v) for k, v in held_kwargs.items()})
        array = result.numpy()
        return array if array.dtype == np.bool_ else np.asarray(array, np.float64)

    return replay


def _plain_number(tensor: torch.Tensor) -> float:
    if tensor.numel() != 1 or tensor.device.type == "meta":
        raise ValueError("not a plain number")
    constant = getattr(tensor, "constant", tensor)  # fake tensors keep the value of small constants
    if constant is None:
        raise ValueError("a fake tensor without a value")
    return float(constant.item())
