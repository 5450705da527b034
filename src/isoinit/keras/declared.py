"""What the layers of a Keras model say themselves of the initial values of their variables.

A layer takes initializers as options: `kernel_initializer` for its variable `kernel`. What differs
from the default of the layer's class was asked for. The rest is Keras's habit, and left to a plan.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from isoinit._planning.plan import Plan
from isoinit._reading.values import Values
from isoinit._showing.findings import listed
from isoinit.initializers import Constant, Initializer, Ones, Zeros
from isoinit.keras.variables import Variables

SUFFIX = "_initializer"
# The options that change a part of what an initializer of the layer gives, by the variable's name.
FLAGS = {"bias": "unit_forget_bias"}
NUMBERS = {keras.initializers.Zeros: 0.0, keras.initializers.Ones: 1.0}


@dataclass(frozen=True)
class Declared:
    """What a layer says of one of its variables.

    Attributes:
        said: the option and its value, in words.
        number: the number that all elements are to be; None of anything else.
        settled: whether nothing but this number will do, even if it is the usual one.
    """

    said: str
    number: float | None
    settled: bool

    @property
    def initializer(self) -> Initializer | None:
        """What gives a variable that number."""
        if self.number is None:
            return None
        return {0.0: Zeros(), 1.0: Ones()}.get(self.number, Constant(self.number))

    def values(self) -> Values | None:
        """Return this as what a constructor gave a parameter; None where a plan is to draw."""
        if self.number is None:
            return None
        said = f"{self.number} in every element".replace("-", "−")
        values = Values("constant", said, self.number, self.number**2)
        if not self.settled:
            return values
        return replace(values, kept="own", because=f"its layer has {self.said}")


def declared(model: Any, variables: Variables) -> dict[str, Declared]:
    """Return what a model's layers say of its variables, by path: what is not the default alone."""
    found: dict[str, Declared] = {}
    for layer in model._flatten_layers():
        own = [v for v in layer._trainable_variables if v.path in variables]
        options = dict(_options(layer)) if own else {}
        said = {variable.path: _of(variable.name, options) for variable in own}
        found |= {path: one for path, one in said.items() if one is not None}
    return found


def known(found: Mapping[str, Declared], method: str) -> dict[str, Values]:
    """Return what a plan keeps if it means something: under a method that was asked for, nothing."""
    if method != "auto":
        return {}
    return {path: values for path, one in found.items() if (values := one.values()) is not None}


def unfollowed(plan: Plan, found: Mapping[str, Declared]) -> tuple[str, ...]:
    """Return which initializers of a model's layers a plan does not follow, in a sentence."""
    left: dict[str, list[str]] = {}
    for entry in plan:
        one = found.get(entry.name)
        if one is None or entry.kept or entry.source == "your choice":
            continue
        if one.number is None or entry.initializer != one.initializer:
            left.setdefault(one.said, []).append(entry.name)
    if not left:
        return ()
    words = "; ".join(f"{said} of {listed([*map(repr, names)])}" for said, names in left.items())
    return (
        f"the plan does not use these initializers of layers: {words}. To use one, pass it in "
        "overrides=",
    )


def _options(layer: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield a layer's options that decide on initial values, each with its value and its default."""
    names = set()
    for kind in type(layer).__mro__:  # a class may take the options of its base as **kwargs
        if "__init__" not in vars(kind):
            continue
        for name, option in inspect.signature(vars(kind)["__init__"]).parameters.items():
            decides = name.endswith(SUFFIX) or name in FLAGS.values()
            if decides and name not in names and hasattr(layer, name):
                names.add(name)
                yield name, (getattr(layer, name), option.default)


def _of(variable: str, options: Mapping[str, tuple[Any, Any]]) -> Declared | None:
    """Return what a layer's options say of a variable; None if they are at their defaults."""
    told = next((n for n in options if _names(n.removesuffix(SUFFIX), variable)), None)
    value, default = options[told] if told is not None else (None, None)
    flag = FLAGS.get(variable, "")
    on, usual = options.get(flag, (False, False))
    if on != usual:
        return Declared(f"{flag}={on}", None if on else _number(value), settled=True)
    if told is None or _same(value, default):
        return None
    return Declared(f"{told}={_word(value)}", None if on else _number(value), settled=False)


def _names(option: str, variable: str) -> bool:
    """Return whether an option is for a variable: `depthwise` for `depthwise_kernel`."""
    return variable == option or variable.startswith(f"{option}_")


def _made(value: Any) -> Any:
    """Return the initializer that an option means; a value that Keras does not know as it is."""
    try:
        return keras.initializers.get(value)
    except ValueError:  # a word or a number that means something to the layer alone
        return value


def _same(value: Any, default: Any) -> bool:
    """Return whether two options mean one initializer, whatever its seed."""
    one, other = _made(value), _made(default)
    if type(one) is not type(other) or not isinstance(one, keras.initializers.Initializer):
        return bool(one is other or one == other)
    return _config(one) == _config(other)


def _config(initializer: Any) -> dict[str, Any]:
    return {name: v for name, v in initializer.get_config().items() if name != "seed"}


def _number(value: Any) -> float | None:
    """Return the number that an initializer gives all elements; None if it gives several."""
    made = _made(value)
    if type(made) is keras.initializers.Constant and np.ndim(made.value) == 0:
        return float(made.value)
    return NUMBERS.get(type(made))


def _word(value: Any) -> str:
    """Return what an initializer is called."""
    made = _made(value)
    if (number := _number(made)) is not None:
        return f"Constant({number:g})"
    if isinstance(made, keras.initializers.Initializer):
        return type(made).__name__
    return str(getattr(made, "__name__", made))
