"""A module of torch that owns what stands for a Keras model's variables, for the reader of torch.

Under the PyTorch backend a Keras model is a module of torch, but its layers read their variables and
not the module's parameters. What a reader lends in place of parameters would never be met. Here the
variables are looked up in a scope that maps each of them to a parameter, whatever that is just then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
from torch import nn
from torch.overrides import TorchFunctionMode

from isoinit.keras.variables import Variables

Forward = Callable[[Iterable[tuple[Any, Any]], list[Any]], Any]


class Stateless(nn.Module):
    """Runs a function of (variable, value) pairs and inputs on parameters and buffers of its own.

    Args:
        forward: the function.
        variables: those that are parameters, by the names that these get.
        state: the variables that are buffers.
    """

    def __init__(self, forward: Forward, variables: Variables, state: Iterable[Any]) -> None:
        super().__init__()
        self._function = forward
        self._variables = variables
        self._state = {f"state {place}": variable for place, variable in enumerate(state)}
        for path, variable in variables.items():
            # `register_parameter` takes no names with a dot, and the path of a layer may have one.
            self._parameters[path] = nn.Parameter(variable.value.detach())
        for name, variable in self._state.items():
            self.register_buffer(name, variable.value.detach())

    def forward(self, *leaves: Any) -> Any:
        """Return what the function gives on what stands for the variables now."""
        own = [(v, self._parameters[path]) for path, v in self._variables.items()]
        held = [(v, self._buffers[name]) for name, v in self._state.items()]
        with _Values():
            return self._function([*own, *held], list(leaves))


class _Values(TorchFunctionMode):
    """Calls functions of torch with the values of variables, as `x @ self.kernel` in a layer does.

    A variable would take its own value out, but so late that nobody who watches sees the call.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = keras.tree.map_structure(_value, (args, kwargs or {}))
        return func(*given[0], **given[1])


def _value(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, keras.Variable) else leaf
