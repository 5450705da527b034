"""Calls that do several things at once, in single steps: the readers know a product and a sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import torch

Run = Callable[..., torch.Tensor]


def _with_product(
    function: Any, run: Run, start: Any, first: Any, second: Any, *, value: Any = 1
) -> torch.Tensor:
    """`start + value * first * second`, or `/ second`."""
    return run(torch.add, start, run(function, first, second), alpha=value)


def _with_matrices(
    run: Run, start: Any, first: Any, second: Any, *, beta: Any = 1, alpha: Any = 1
) -> torch.Tensor:
    """`beta * start + alpha * first @ second`."""
    product = run(torch.matmul, first, second)
    product = product if alpha == 1 else run(torch.mul, product, alpha)
    return product if beta == 0 else run(torch.add, product, start, alpha=beta)


def _chain(run: Run, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The matrix product of several, from the left."""
    return reduce(partial(run, torch.matmul), tensors)


STEPS: dict[str, Callable[..., torch.Tensor]] = {
    "addcmul": partial(_with_product, torch.mul),
    "addcdiv": partial(_with_product, torch.div),
    "baddbmm": _with_matrices,
    "addmm": _with_matrices,
    "linalg_multi_dot": _chain,
    "multi_dot": _chain,
}
# The operands that may be given by name, in their order.
OPERANDS: dict[str, tuple[str, ...]] = {
    "addcmul": ("input", "tensor1", "tensor2"),
    "addcdiv": ("input", "tensor1", "tensor2"),
    "baddbmm": ("input", "batch1", "batch2"),
    "addmm": ("input", "mat1", "mat2"),
}


def in_steps(
    func: Any,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    weight: Callable[[Any], object | None],
) -> Callable[[Run], Any] | None:
    """Return what makes a call in single steps; None for a call that is one, or is read whole.

    Args:
        func: the function.
        name: its plain name.
        args: its positional arguments.
        kwargs: its other arguments.
        weight: how a tensor is made of parameters; None for others. A layer's product is read whole.
    """
    if (steps := STEPS.get(name)) is None:
        return None
    named = [kwargs[key] for key in OPERANDS.get(name, ()) if key in kwargs]
    args = (*args, *named)
    kwargs = {key: value for key, value in kwargs.items() if key not in OPERANDS.get(name, ())}
    if "out" in kwargs or not kwargs.keys() <= {"value", "beta", "alpha"}:
        return None
    if steps is _chain:
        return (lambda run: _chain(run, args[0])) if len(args) == 1 else None
    if len(args) != 3 or not all(isinstance(arg, torch.Tensor) for arg in args):
        return None
    if steps is _with_matrices and any(weight(arg) is not None for arg in args[1:]):
        return None
    if func.__name__.endswith("_"):  # in place
        return lambda run: run(torch.Tensor.copy_, args[0], steps(run, *args, **kwargs))
    return lambda run: steps(run, *args, **kwargs)
