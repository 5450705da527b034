"""The gain of any activation: a name, a function of arrays, or a module or function of torch."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from isoinit._reading.graph import ReplayError, elementwise
from isoinit.errors import ArgumentError
from isoinit.initializers.scale.gains import activation_gain, function_gain

if TYPE_CHECKING:
    from torch import nn

Array = npt.NDArray[np.float64]


def gain(activation: str | nn.Module | Callable[[Any], Any]) -> float:
    """The gain E[φ(z)²]^(-1/2), z ~ N(0, 1), that undoes what an activation does to a signal.

    Args:
        activation: a name ("relu", "gelu", "silu", ...), a module (`torch.nn.GELU()`), or any
            elementwise function of a torch tensor or a NumPy array.

    Returns:
        The gain by quadrature, to about ten digits; closed forms for ReLU and leaky ReLU by name.

    Raises:
        ArgumentError: for an unknown name, a function that fails, is not elementwise (softmax), or
            has no finite second moment.

    Source: He et al. 2015, eq. 10, with E[φ²] in place of ReLU's 1/2.

    Example:
        >>> import torch
        >>> round(gain(torch.nn.Tanh()), 6)
        1.592537
        >>> round(gain(lambda x: x * torch.sigmoid(1.702 * x)), 4)
        1.5395
    """
    if isinstance(activation, str):
        return activation_gain(activation)
    if not callable(activation):
        raise ArgumentError(
            f"activation is a {type(activation).__name__}; expected a name, a module or a function"
        )
    what = type(activation).__name__ if _is_module(activation) else repr(activation)
    function = _on_arrays(activation, what)
    _refuse_mixing(function, what)
    return function_gain(function, what)


def _is_module(activation: Callable[[Any], Any]) -> bool:
    torch = sys.modules.get("torch")  # whoever has a module of torch has imported it
    return torch is not None and isinstance(activation, torch.nn.Module)


def _on_arrays(activation: Callable[[Any], Any], what: str) -> Callable[[Array], Array]:
    """Return the activation as a function of float64 arrays, whichever library it is written for."""
    call: Any = activation
    if _is_module(activation):  # parameters in double, the module untouched
        call = copy.deepcopy(call).cpu().double()

    def in_torch(z: Array) -> Array:
        torch = sys.modules["torch"]
        with torch.no_grad():
            return np.asarray(call(torch.tensor(z, device="cpu")).numpy(), np.float64)

    def in_numpy(z: Array) -> Array:
        return np.asarray(call(z), np.float64)

    failures = {}
    kinds = {"a float64 torch tensor": in_torch, "a NumPy array": in_numpy}
    if "torch" not in sys.modules:
        del kinds["a float64 torch tensor"]
    for kind, function in kinds.items():
        try:
            with warnings.catch_warnings():  # such as NumPy's, of a tensor in place of an array
                warnings.simplefilter("ignore")
                function(np.linspace(-1, 1, 4))
        except Exception as error:  # whatever the user's function raises
            failures[kind] = f"{type(error).__name__}: {error}"
        else:
            return function
    tried = " and ".join(f"on {kind} ({failure})" for kind, failure in failures.items())
    raise ArgumentError(
        f"{what} failed {tried}; expected an elementwise function of a NumPy array or a torch "
        "tensor"
    )


def _refuse_mixing(function: Callable[[Array], Array], what: str) -> None:
    try:
        elementwise(lambda rows: function(rows[0]), [np.linspace(-2, 2, 24)], rtol=1e-5, atol=1e-8)
    except ReplayError as error:
        raise ArgumentError(
            f"{what} is not elementwise: an output depends on other inputs or on chance, so the "
            "function has no gain. Pass a function such as torch.relu"
        ) from error
