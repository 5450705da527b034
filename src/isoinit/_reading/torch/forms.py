"""What calls make of fake tensors, by the form of what they are given: torch is asked once for each.

A model is one block after another, and a call under the fake mode takes a tenth of a millisecond to
half of one, most of it to find out what is known from the block before.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor

from isoinit._reading.torch.fakes import called, is_cast
from isoinit._reading.torch.placeholders import plain_data
from isoinit._reading.torch.trees import map_leaves

# Functions that give one tensor with memory of its own, whose form follows from those of the inputs.
FRESH = frozenset(
    "linear matmul mm bmm addmm baddbmm add sub mul div neg pow sqrt rsqrt exp log tanh sigmoid relu "
    "gelu silu softmax layer_norm rms_norm mean cat sin cos erf conv1d conv2d conv3d "
    "scaled_dot_product_attention".split()
)


class _Form(NamedTuple):
    """The form of a tensor: with its type, all that a fake one has."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class Forms:
    """Calls functions, and remembers the form of what came of it."""

    def __init__(self) -> None:
        self._known: dict[Hashable, _Form] = {}

    def made(
        self, func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, seen: bool
    ) -> Any:
        """Return what a call gives.

        Args:
            func: the function.
            name: its plain name.
            args: its positional arguments.
            kwargs: its other arguments.
            seen: whether it must be made, since it writes into an input or is watched from below.
        """
        found = _Leaves()
        alike = not seen and name in FRESH and not torch.is_grad_enabled()
        if not alike or not found.read(func, args, kwargs):
            return called(func, name, args, kwargs)
        if (form := self._known.get(found.key)) is None:
            made = called(func, name, args, kwargs)
            if type(made) is FakeTensor and made.layout is torch.strided and not made.is_conj():
                self._known[found.key] = _form(made)
            return made
        with torch._C._DisableTorchDispatch():  # or the mode would make a twin of it
            meta = torch.empty_strided(form.shape, form.stride, dtype=form.dtype, device="meta")
            return FakeTensor(found.mode, meta, form.device)


class _Leaves:
    """The arguments of a call: its key, where they are fake tensors and plain data alone."""

    def __init__(self) -> None:
        self.mode: Any = None
        self.key: Hashable = None
        self._kind = ""

    def read(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Return whether they are, and at least one is fake."""
        try:
            forms = map_leaves(self._leaf, (list(args), dict(kwargs)))
            self.key = func, plain_data(forms)
        except TypeError:
            return False
        return self.mode is not None and not is_cast(self._kind)

    def _leaf(self, leaf: Any) -> Any:
        """Return what the form of a result depends on.

        Raises:
            TypeError: for a tensor of another kind.
        """
        if not isinstance(leaf, torch.Tensor):
            return leaf
        plain = type(leaf) is FakeTensor and leaf.layout is torch.strided and leaf.constant is None
        if not plain or leaf.is_conj() or leaf.is_neg() or leaf.is_nested:
            raise TypeError("no plain fake tensor")
        fake: Any = leaf
        self.mode, self._kind = fake.fake_mode, leaf.device.type
        form = _form(leaf)
        return list(form.shape), list(form.stride), form.dtype, form.device


def _form(tensor: torch.Tensor) -> _Form:
    return _Form(tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)
