"""One forward and one backward pass of a model, watched, with no trace left in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from isoinit._drawing.streams import Stream
from isoinit._reading.graph import Graph, Op
from isoinit._reading.torch import as_arguments, explained, recording
from isoinit._reading.torch.calls import function_name
from isoinit._reading.torch.numbers import is_finite, rows_of
from isoinit._reading.torch.record import Recorder
from isoinit._reading.torch.trees import tensors_in
from isoinit._system.signals import call_user, check_signals
from isoinit._verifying.losses import Loss
from isoinit._verifying.targets import own_loss
from isoinit.errors import ArgumentError

Watcher = Callable[[Op, tuple[torch.Tensor, ...], Recorder], None]

# Losses of a mean over classes, of which a model that knows nothing gets ln C, or ln 2 of two.
CLASSES = frozenset({"cross_entropy", "nll_loss"})
TWO = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits"})


@dataclass
class Passes:
    """What came of the two passes.

    Attributes:
        graph: the operations that ran.
        loss: the loss; None where a random gradient was sent back.
        classes: how many classes the loss has; None where it is not the mean cross-entropy
            over classes, or not that alone.
        began: whether there was anything to send a gradient back from.
        outputs, finite: how many tensors the forward returned, and whether all are finite.
        read: the values of those that the loss is worked out from; without a loss, of all.
    """

    graph: Graph
    loss: float | None
    classes: int | None
    began: bool
    outputs: int
    finite: bool
    read: frozenset[int]


def run_passes(
    model: nn.Module,
    parameters: dict[str, nn.Parameter],
    batch: Any,
    loss: Loss | None,
    watch: Watcher,
    take: Callable[[str, torch.Tensor], None],
) -> Passes:
    """Run a model forward and backward.

    Args:
        model: left as it was: parameters, gradients, buffers, mode and random numbers.
        parameters: its parameters, by name.
        batch: an example, as `isoinit._reading.torch.as_arguments` takes it; left as it was, too.
        loss: from the model's output to a scalar; None uses the output's own `loss`, or else sends
            a random gradient of unit size back from the output.
        watch: called with each operation, what it made, and the recorder.
        take: called with the name of a parameter and its gradient, as soon as that is complete.

    Raises:
        TraceError: if the forward or the loss fails.
        ArgumentError: if the loss is not one number that depends on the parameters.
    """
    args, kwargs = as_arguments(batch)
    losses = _Losses()

    def observe(op: Op, made: tuple[torch.Tensor, ...]) -> None:
        losses.note(op.name, recorder.call.args, recorder.call.kwargs, made)
        watch(op, made, recorder)

    trained = {name: p for name, p in parameters.items() if p.requires_grad}
    borrowed = recording(model, observe=observe, batch=(args, kwargs))
    with borrowed as (inner, recorder), torch.inference_mode(False), torch.enable_grad():
        try:
            output = recorder.run(inner, args, kwargs)
            with losses:
                target, weights, value = _start(output, loss)
        except ArgumentError:
            raise
        except Exception as failure:
            raise explained(failure, "on the batch", model, batch) from failure
        graph = recorder.graph(output, "real")
        read = frozenset(
            number
            for tensor in tensors_in(output)
            if value is None or tensor is target[0] or id(tensor) in losses.read
            if (number := recorder.known.value(tensor)) is not None
        )
        made = [t.detach() for t in tensors_in(output)]
        finite = all(map(is_finite, made))
        count = len(made)
        del output, made
        if target and trained:
            with _taking(trained, take), _unmarked(_leaves(target)):
                torch.autograd.backward(target, weights)
    return Passes(graph, value, losses.classes(value), bool(target), count, finite, read)


def _leaves(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """The tensors that a backward pass would leave gradients on: a loss may have weights of its own.

    Naming those that shall get one would shut out models that compute segments again.
    """
    found: list[torch.Tensor] = []
    waiting, seen = [tensor.grad_fn for tensor in tensors], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting.extend(following for following, _ in node.next_functions)
    return found


@contextmanager
def _unmarked(leaves: list[torch.Tensor]) -> Iterator[None]:
    """Inside, gradients are left; at the end each tensor has the one that it had."""
    before = [leaf.grad for leaf in leaves]
    try:
        yield
    finally:
        for leaf, gradient in zip(leaves, before, strict=True):
            leaf.grad = gradient


@contextmanager
def _taking(
    trained: dict[str, nn.Parameter], take: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    """Inside, gradients are handed over one by one and dropped, and the user's own hooks rest.

    An optimizer that steps in such a hook would change the model.
    """
    before = {name: p._post_accumulate_grad_hooks for name, p in trained.items()}
    handles = []

    def taker(name: str) -> Callable[[torch.Tensor], None]:
        def hand_over(parameter: torch.Tensor) -> None:
            check_signals()
            if (gradient := parameter.grad) is not None:
                parameter.grad = None
                take(name, gradient)

        return hand_over

    try:
        for name, parameter in trained.items():
            parameter.grad = None
            parameter._post_accumulate_grad_hooks = None  # type: ignore[assignment]
            handles.append(parameter.register_post_accumulate_grad_hook(taker(name)))
        yield
        for name, parameter in trained.items():  # that of a shard may be set by other means
            taker(name)(parameter)
    finally:
        for handle in handles:
            handle.remove()
        for name, parameter in trained.items():
            parameter._post_accumulate_grad_hooks = before[name]


def _start(
    output: Any, loss: Loss | None
) -> tuple[list[torch.Tensor], list[torch.Tensor | None], float | None]:
    """Where the backward pass starts: tensors, the gradients put on them, and the loss."""
    chosen = chosen_loss(output, loss)
    if chosen is not None:
        return [chosen], [None], chosen.item()
    outputs = [rows_of(t) for t in tensors_in(output) if t.requires_grad]
    return outputs, [unit_noise(tensor, index) for index, tensor in enumerate(outputs)], None


def chosen_loss(output: Any, loss: Loss | None) -> torch.Tensor | None:
    """The loss given, of a model's output, or else the output's own; None where there is neither.

    Raises:
        ArgumentError: if it is not one number that depends on the parameters.
    """
    chosen = call_user(loss, output) if loss is not None else own_loss(output)
    if chosen is None:
        return None
    if not isinstance(chosen, torch.Tensor) or chosen.numel() != 1 or chosen.is_complex():
        found = (
            f"a {'complex ' * chosen.is_complex()}tensor of shape {tuple(chosen.shape)}"
            if isinstance(chosen, torch.Tensor)
            else f"a {type(chosen).__name__}"
        )
        raise ArgumentError(f"loss returned {found}; expected a tensor of one number. Use the mean")
    if not chosen.requires_grad:
        raise ArgumentError(
            "loss does not depend on a trainable parameter; nothing was changed. Compute it from "
            "the model's output, without detach() or no_grad()"
        )
    return chosen


def unit_noise(tensor: torch.Tensor, index: int) -> torch.Tensor:
    """A random gradient of root mean square one, the same at every call."""
    parts = 2 if tensor.is_complex() else 1
    noise = torch.empty(tensor.numel() * parts, dtype=torch.float32, device="cpu")
    Stream(0, "check", f"gradient {index}").normal(noise.numpy(), std=parts**-0.5)
    noise = torch.view_as_complex(noise.view(-1, 2)) if tensor.is_complex() else noise
    return noise.reshape(tensor.shape).to(tensor)


class _Losses(TorchFunctionMode):
    """Notes the losses over classes that were worked out, in the forward and in the user's loss."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, float]] = []
        self.read: set[int] = set()  # the tensors that a loss was given, by identity

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.read.update(id(tensor) for tensor in tensors_in((args, kwargs)))
        result = func(*args, **(kwargs or {}))
        self.note(function_name(func), args, kwargs or {}, tuple(tensors_in(result)))
        return result

    def note(self, name: str, args: Any, kwargs: Any, made: tuple[torch.Tensor, ...]) -> None:
        """Keep the classes and the value of a loss."""
        if name not in CLASSES | TWO or len(made) != 1 or made[0].numel() != 1:
            return
        given = args[0] if args else kwargs.get("input")
        if kwargs.get("reduction", "mean") != "mean" or not isinstance(given, torch.Tensor):
            return
        classes = 2 if name in TWO else given.shape[1 if given.dim() > 1 else 0]
        self.found.append((int(classes), made[0].item()))

    def classes(self, loss: float | None) -> int | None:
        """How many classes the loss has, where it is one of those noted."""
        alike = {classes for classes, value in self.found if value == loss}
        return alike.pop() if len(alike) == 1 else None
