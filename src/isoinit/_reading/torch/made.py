"""Tensors made of parameters alone: recorded as the model makes them, and made again from arrays.

What multiplies a signal is often no parameter but made of some: scaled, masked, normalized,
standardized, composed of a basis, a product of low rank. Each operation on the way becomes a node; the
nodes together compute the tensor from any values of the parameters. What each parameter is to the
tensor (its random values, a scale, a shift) follows from the operations, never from names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from isoinit._reading.graph import Array, ReplayError, first_line
from isoinit._reading.neutral import neutral_at
from isoinit._reading.torch.calls import MOVES, function_name
from isoinit._reading.torch.chance import seeded
from isoinit._reading.torch.replay import Recorded
from isoinit._reading.torch.trees import map_leaves, map_tensors, tensors_in
from isoinit._system.private import unset_fake_temporarily

FACTORED = frozenset({"matmul", "mm", "bmm", "einsum", "multi_dot"})
# Where norm functions take the scale and the shift of what they normalize.
AFFINE = {
    "batch_norm": (3, 4),
    "instance_norm": (3, 4),
    "layer_norm": (2, 3),
    "group_norm": (2, 3),
    "rms_norm": (2, None),
    "weight_norm": (1, None),
}
COPIED = 1 << 16  # elements of a constant up to which a copy is kept: it may be written to later


@dataclass(frozen=True)
class _Slot:
    """Stands for an input in a recorded call."""

    position: int


@dataclass(frozen=True, eq=False)
class Node:
    """A parameter, or one result of a call on tensors made of parameters.

    Attributes:
        name: the call's plain name; "" for a parameter.
        shape: of the tensor.
        inputs: the nodes that the call reads.
        call: the call with `_Slot`s in the place of its inputs; None for a parameter, and where it
            cannot be made again.
        place: which of the call's results it is.
        kinds: what each parameter behind it is to it: see `graph.Part`.
        key: hashable; equal for nodes that are made in the same way from the same shapes.
        reason: why it cannot be made again; "" where it can.
        complex: whether it is a parameter of complex numbers.
    """

    name: str
    shape: tuple[int, ...]
    inputs: tuple[Node, ...] = ()
    call: Recorded | None = None
    place: int = 0
    kinds: Mapping[str, str] = ()  # type: ignore[assignment]
    key: Hashable = ()
    reason: str = ""
    complex: bool = False

    @property
    def parameter(self) -> str:
        """The name of the parameter that it is; "" for what was made."""
        return "" if self.name else next(iter(self.kinds))

    def core(self) -> Node:
        """Return what it is a rearrangement, or a product with a constant, of."""
        node = self
        while len(node.inputs) == 1 and (node.name in MOVES or node.name in ("mul", "div")):
            node = node.inputs[0]
        return node


def parameter_node(name: str, shape: Sequence[int], *, of_complex: bool = False) -> Node:
    """Return the node of a parameter."""
    shape, kinds = tuple(shape), {name: "weight"}
    return Node("", shape, kinds=kinds, key=("parameter", shape, of_complex), complex=of_complex)


def made_nodes(
    name: str,
    call: Recorded,
    node_of: Callable[[torch.Tensor], Node | None],
    value_of: Callable[[torch.Tensor], torch.Tensor],
    results: Sequence[torch.Tensor],
) -> list[Node]:
    """Return the nodes of a call's results.

    Args:
        name: the call's plain name.
        call: the call as it was made, none of whose tensors carries signal.
        node_of: the node of a tensor that was made of parameters; None for a constant.
        value_of: the values of a constant; raises a `ReplayError` where they are not known.
        results: the tensors that it returned.
    """
    inputs: list[Node] = []
    constants: list[Hashable] = []
    reason = ""

    def held(tensor: torch.Tensor) -> Any:
        nonlocal reason
        node = node_of(tensor)
        if node is not None:
            if node not in inputs:
                inputs.append(node)
            return _Slot(inputs.index(node))
        try:
            known = value_of(tensor)
        except ReplayError as error:
            reason = reason or f"{name} reads a tensor that cannot be made again ({error})"
            return None
        with unset_fake_temporarily():
            kept = known.detach().cpu()
            kept = kept.double() if kept.is_floating_point() else kept
            kept = kept.to(torch.complex128) if kept.is_complex() else kept
            kept = kept.clone() if kept.numel() <= COPIED and kept is known else kept
            constants.append(_digest(kept))
        return kept

    args, kwargs = map_tensors(held, (list(call.args), dict(call.kwargs)))
    template = Recorded(call.function, args, kwargs)
    reason = next((node.reason for node in inputs if node.reason), reason)
    key = (name, _frozen(template), tuple(constants), tuple(node.key for node in inputs))
    return [
        Node(
            name,
            tuple(tensor.shape),
            tuple(inputs),
            None if reason else template,
            place,
            _kinds(name, inputs, template, tuple(tensor.shape)),
            (place, key),
            reason,
        )
        for place, tensor in enumerate(results)
    ]


def times(node: Node, tensor: torch.Tensor, factor: float) -> Node:
    """Return the node of a tensor multiplied by a number."""

    def node_of(_tensor: torch.Tensor) -> Node:
        return node

    call = Recorded(torch.mul, (tensor, factor), {})
    return made_nodes("mul", call, node_of, lambda tensor: tensor, [tensor])[0]


def remade(root: Node, given: Mapping[str, Array]) -> Array:
    """Return the tensor of a node, computed from a value for each parameter behind it.

    The values are real. Those of a complex parameter are turned in the plane: element n has the values
    n and n - 1 for its parts, over sqrt(2), so that its size is that of the values.

    Raises:
        ReplayError: if a call cannot be made again with them.
    """
    done: dict[int, torch.Tensor] = {}
    with unset_fake_temporarily(), torch.no_grad(), torch.device("cpu"), seeded():  # dropout draws
        for node in _ordered(root):
            if not node.name:
                array = np.asarray(given[node.parameter], np.float64)
                if node.complex:
                    array = (array + 1j * np.roll(array, 1)) / math.sqrt(2)
                done[id(node)] = torch.from_numpy(array.copy()).reshape(node.shape)
                continue
            assert node.call is not None, "a node without a reason can be made again"
            read = [done[id(child)] for child in node.inputs]

            def filled(leaf: Any, read: list[torch.Tensor] = read) -> Any:
                return read[leaf.position].clone() if isinstance(leaf, _Slot) else leaf

            try:
                result = list(tensors_in(_again(node.call, filled)))
            except Exception as error:  # whatever torch raises on other types
                raise ReplayError(
                    f"{node.name} cannot be made again: {first_line(error)}"
                ) from error
            if node.place >= len(result):
                raise ReplayError(f"{node.name} gives nothing when it is made again")
            done[id(node)] = result[node.place]
        made = done[id(root)].resolve_conj().resolve_neg().numpy()
        return np.asarray(made, np.complex128 if np.iscomplexobj(made) else np.float64)


def _again(call: Recorded, filled: Callable[[Any], Any]) -> Any:
    """Make a call once more; what is written to is what `target[index] = value` gives."""
    if function_name(call.function) != "setitem":
        return call.again(filled)
    target, *others = map_leaves(filled, list(call.args))
    if target is call.args[0]:  # a constant, which the next replay meets as it was
        kind = torch.float64 if target.is_floating_point() else target.dtype
        target = target.to(kind, copy=True)
    call.function(target, *others)
    return target


def neutral_beside(root: Node, parameter: str, kind: str) -> float | None:
    """Return the value at which a scale or shift of a weight does nothing; None if not known.

    A gain is one, whatever constant the model multiplies it by; in 1 + w and exp(w) it is zero.
    """
    goal = {"scale": 1.0, "shift": 0.0}[kind]
    child = _beside(root, parameter, kind)
    if child is None:
        return None
    if not child.name:
        return goal
    shape = next(node.shape for node in _ordered(child) if not node.name)

    def effect(value: float) -> float:
        try:
            made = remade(child, {parameter: np.full(shape, value)})
        except ReplayError:
            return math.nan
        alike = made.size and not np.iscomplexobj(made) and np.ptp(made) == 0
        return float(made.flat[0]) if alike else math.nan

    return neutral_at(effect, goal)


def _beside(root: Node, parameter: str, kind: str) -> Node | None:
    """Return the node of a scale or shift alone, where it meets what it multiplies or joins."""
    for node in _ordered(root):
        for child in node.inputs:
            alone = set(child.kinds) == {parameter} and child.kinds[parameter] == "weight"
            if alone and node.kinds.get(parameter) == kind:
                return None if child.reason else child
    return None


def _ordered(root: Node) -> Iterator[Node]:
    """Yield the nodes behind a node, each after those that it reads, itself last."""
    seen: set[int] = set()
    waiting: list[tuple[Node, bool]] = [(root, False)]
    while waiting:
        node, ready = waiting.pop()
        if ready:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            waiting.append((node, True))
            waiting += [(child, False) for child in node.inputs]


def _kinds(
    name: str, inputs: Sequence[Node], call: Recorded, shape: tuple[int, ...]
) -> dict[str, str]:
    """Return what each parameter is to the result of a call."""
    demoted: dict[int, str] = {}
    if name in ("mul", "div", "add", "sub") and len(inputs) == 2:
        small, large = sorted(inputs, key=lambda node: int(np.prod(node.shape)))
        if np.prod(small.shape) < np.prod(large.shape) == np.prod(shape):
            demoted[id(small)] = "scale" if name in ("mul", "div") else "shift"
        elif name in ("add", "sub"):
            return _sum_kinds(inputs)
    for place, kind in zip(AFFINE.get(name, ()), ("scale", "shift"), strict=False):
        argument = call.kwargs.get({"scale": "weight", "shift": "bias"}[kind])
        if place is not None and len(call.args) > place:
            argument = call.args[place]
        if isinstance(argument, _Slot):
            demoted[id(inputs[argument.position])] = kind
    found: dict[str, str] = {}
    for node in inputs:
        for parameter, kind in node.kinds.items():
            new = demoted.get(id(node), kind) if kind == "weight" else kind
            if found.get(parameter) != "weight":  # v of v/‖v‖ is more than a scale
                found[parameter] = new
    return found


def _sum_kinds(inputs: Sequence[Node]) -> dict[str, str]:
    """Return the kinds of a sum of two tensors of one shape: of a weight and a product of low rank?"""
    found = {**inputs[1].kinds, **inputs[0].kinds}
    for product, beside in (inputs, inputs[::-1]):
        core = product.core()
        if core.name not in FACTORED or len(core.inputs) != 2:
            continue
        if beside.core().name in FACTORED or set(core.kinds) & set(beside.kinds):
            continue
        left, right = core.inputs
        if not left.shape or len(left.shape) < 2 or len(right.shape) < 2:
            continue
        rank = left.shape[-1]
        if rank < min(left.shape[-2], right.shape[-1]):
            found.update(dict.fromkeys(left.kinds, "adapter left"))
            found.update(dict.fromkeys(right.kinds, "adapter right"))
    return found


def _frozen(call: Recorded) -> str:
    """Return the arguments of a call that are no constant tensors, as text."""

    def shown(leaf: Any) -> Any:
        return f"tensor {leaf.dtype}" if isinstance(leaf, torch.Tensor) else leaf

    return repr(map_leaves(shown, (list(call.args), dict(call.kwargs))))


def _digest(tensor: torch.Tensor) -> Hashable:
    """Return what stands for the values of a constant; equal for equal values if they are few."""
    if tensor.numel() > COPIED:
        return (tuple(tensor.shape), id(tensor.untyped_storage()))
    values = np.ascontiguousarray(tensor.resolve_neg().resolve_conj().numpy())
    return (tuple(tensor.shape), blake2b(values.tobytes(), digest_size=16).digest())
