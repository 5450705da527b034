"""An entry of a plan: the initializer of one parameter, and the reason."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from isoinit._drawing.streams.laws import dtype_named
from isoinit._drawing.streams.philox import Law
from isoinit._showing.page import definitions
from isoinit._system.schema import Place, fault, named, read_fields, types_of
from isoinit._writing.factors import Factors
from isoinit.errors import ArgumentError
from isoinit.initializers import Initializer
from isoinit.initializers.scale.fans import Layout

KEPT = ("", "frozen", "copy", "own", "loaded", "only", "type")
LEFT = ("frozen", "loaded", "only", "type")  # of these, those that nothing is written into
LATER = ("expected_gradient", "kept", "copies", "factors")  # plans of before did not have these
SIZES = ("std", "expected", "expected_gradient", "target")
SQUARES = ("E[x²]", "σ_b²")  # of the numbers, those whose root is taken
# The names of torch's types, which is not imported here; new ones come in families.
DTYPE = re.compile(
    r"bool|bfloat16|float(16|32|64)|float[48]_\w+|complex(32|64|128)|bits\w+"
    r"|u?int([1-8]|16|32|64)|q(u?int8|int32)|quint(4x2|2x4)"
)


def law_for(initializer: Initializer, layout: Layout, dtype: np.dtype[Any]) -> Law | None:
    """Return the distribution of each element; None if elements depend on each other.

    None for complex numbers too, of which two are drawn for an element.

    Args:
        initializer: what draws.
        layout: what the parameter's axes mean.
        dtype: the type of the array that stands for the parameter.

    Raises:
        ArgumentError: if no parameter of this layout and type can be filled so.
    """
    if 0 in layout.shape:
        return None
    law = None if dtype.kind == "c" else initializer.law(layout, dtype)
    if law is None:  # what has one has been looked at
        initializer.require_fit(layout, dtype)
    return law


@dataclass(frozen=True)
class Entry:
    """The initializer of one parameter, and the reason.

    Attributes:
        name: the parameter's name, without the names of wrappers.
        role: its role in words: "weight before relu", "norm scale", "embedding".
        initializer: its initializer; None leaves the values unchanged.
        layout: its shape and the meaning of its axes.
        dtype: its dtype, such as "float32".
        reason, source: the reason, and the paper or practice that it comes from.
        expected: for the weight of a layer, the expected root mean square of the output; None if it
            cannot be computed.
        target: the same for a standardized input instead of the example. `Plan.calibrate` corrects
            the output to this size.
        expected_gradient: for the weight of a layer, the expected root mean square of the gradient at
            its output, relative to that at the model's output. It assumes white noise of root mean
            square one at every tensor that the model returns, except scalars beside other tensors.
            0 if no gradient reaches the output; None if it cannot be computed.
        fed, feeds: the input of a weight, and the use of its output, in words.
        rule, close: the rule that decided, and the rules that would decide next; "" and () if you or
            a recipe chose.
        numbers: the numbers in the rule's formula.
        must_differ: whether it is a weight matrix whose units would stay identical if they were
            identical at initialization: any but one that ends a residual branch or gives the output.
        kept: why the plan keeps the parameter's values: "frozen" (it is not trained), "copy" (of a
            planned parameter), "own" (its constructor sets values with a meaning), "loaded", "only"
            (`only` does not name it) or "type" (values of its dtype are not drawn); "" if planned.
        copies: the parameter whose values it takes; "" if it has its own values.
        factors: the factors of its std and learning rate from those of a smaller model, in a plan
            that `isoinit.transfer` made; None in any other.
    """

    name: str
    role: str
    initializer: Initializer | None
    layout: Layout
    dtype: str
    reason: str
    source: str
    must_differ: bool
    expected: float | None = None
    target: float | None = None
    fed: str = ""
    feeds: str = ""
    rule: str = ""
    close: tuple[str, ...] = ()
    numbers: tuple[tuple[str, float], ...] = ()
    expected_gradient: float | None = None
    kept: str = ""
    copies: str = ""
    factors: Factors | None = None

    @cached_property
    def law(self) -> Law | None:
        """What `law_for` gives; nothing that it follows from can change. None without an initializer.

        Raises:
            ArgumentError: as `law_for` does.
        """
        dtype = dtype_named(self.dtype)
        if self.initializer is None or dtype is None:
            return None
        return law_for(self.initializer, self.layout, dtype)

    @property
    def key(self) -> str:
        """The name under which its random numbers are drawn: its own, unless it is a copy."""
        return self.copies or self.name

    @property
    def shape(self) -> tuple[int, ...]:
        """The parameter's shape."""
        return self.layout.shape

    @property
    def std(self) -> float | None:
        """The standard deviation of an element; None without an initializer."""
        return None if self.initializer is None else self.initializer.std_for(self.layout)

    @property
    def fan_in(self) -> float | None:
        """The number of terms in one output; None for vectors."""
        return self.layout.fan_in if self.layout.is_map else None

    @property
    def fan_out(self) -> float | None:
        """The number of outputs that one input reaches; None for vectors."""
        return self.layout.fan_out if self.layout.is_map else None

    @property
    def gain(self) -> float | None:
        """The gain of the initializer; None if it has none."""
        return getattr(self.initializer, "gain", None)

    @property
    def warning(self) -> str:
        """A problem with the entry; empty if there is none."""
        if self.kept:
            return ""
        if self.initializer is None:
            return f"{self.name!r} keeps its values: {self.reason}"
        if self.must_differ and self.initializer.is_constant:
            return (
                f"{self.name!r} is a weight matrix filled with {self.initializer}: all its units "
                "compute the same and receive the same gradient, so symmetry stays unbroken and the "
                "layer learns no more than one unit; give it a random or orthogonal initializer"
            )
        return ""

    @property
    def own_target(self) -> float | None:
        """The planned standard deviation of a weight's output, without its bias."""
        if not self.target:
            return None
        bias = dict(self.numbers).get("σ_b²", 0.0)
        return math.sqrt(max(self.target**2 - bias, 0.0)) or None

    def _repr_html_(self) -> str:
        """The entry as a table, as notebooks show it."""
        numbers = {
            "standard deviation": self.std,
            "output rms expected": self.expected,
            "gradient rms expected": self.expected_gradient,
        }
        rows = [
            ("role", self.role),
            ("shape", "×".join(map(str, self.shape)) or "scalar"),
            ("dtype", self.dtype),
            ("initializer", str(self.initializer or ("kept" if self.kept else "left as it was"))),
            *((name, f"{number:.4g}") for name, number in numbers.items() if number is not None),
            ("reason", self.reason),
            ("source", self.source),
            ("input from", self.fed),
            ("output to", self.feeds),
            ("rule", self.rule),
        ]
        return definitions(self.name, rows)

    def called(self, name: str) -> Entry:
        """Return the same entry for another parameter. Faster than `dataclasses.replace`."""
        if name == self.name:
            return self
        entry = object.__new__(Entry)
        vars(entry).update(vars(self), name=name)
        return entry

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as plain JSON data, without its name. `from_dict` reads it back."""
        transferred = {} if self.factors is None else {"factors": self.factors.to_dict()}
        return {
            "role": self.role,
            "initializer": self.initializer and self.initializer.to_dict(),
            "std": self.std,
            "expected": self.expected,
            "expected_gradient": self.expected_gradient,
            "target": self.target,
            "fed": self.fed,
            "feeds": self.feeds,
            "rule": self.rule,
            "close": self.close,
            "numbers": dict(self.numbers),
            "reason": self.reason,
            "source": self.source,
            "dtype": self.dtype,
            "must_differ": self.must_differ,
            "kept": self.kept,
            "copies": self.copies,
            "layout": asdict(self.layout),
            **transferred,
        }

    @classmethod
    def from_dict(cls, name: str, data: Mapping[str, Any], at: Place = ()) -> Entry:
        """Return the entry that `to_dict` wrote.

        Args:
            name: the parameter's.
            data: the fields.
            at: where they stand, for errors.

        Raises:
            ArgumentError: if a field is missing, not known, of a wrong type or out of range, or the
                initializer does not fit the layout.
        """
        # An object in JSON; and the std is written for readers, and worked out anew.
        types = {**types_of(cls), "numbers": dict[str, float], "std": float | None}
        del types["name"]
        found = read_fields(types, data, at, LATER)
        for field in SIZES:
            if (size := found.get(field)) is not None and size < 0:
                raise fault((*at, field), size, "a number of 0 or more, or null")
        if not DTYPE.fullmatch(found["dtype"]):
            raise fault((*at, "dtype"), found["dtype"], "a type of torch, such as 'float32'")
        if found.get("kept", "") not in KEPT:
            raise fault((*at, "kept"), found["kept"], f"one of {', '.join(map(repr, KEPT))}")
        for field in SQUARES:
            if found["numbers"].get(field, 0) < 0:
                raise fault((*at, "numbers", field), found["numbers"][field], "a square")
        numbers = tuple(found.pop("numbers").items())
        del found["std"]
        entry = cls(name, numbers=numbers, **found)
        if why := entry._misfit():
            raise ArgumentError(f"{named(at)}{why}")
        return entry

    def require_fit(self, initializer: Initializer) -> None:
        """Raise unless an initializer can fill this parameter.

        Raises:
            ArgumentError: if its layout or its type does not fit.
        """
        initializer.std_for(self.layout)
        dtype = dtype_named(self.dtype)
        if dtype is not None and all(self.shape):
            initializer.require_fit(self.layout, dtype)

    def _misfit(self) -> str:
        """Return why no parameter of this layout gets such values; "" if one can."""
        if self.kept in LEFT and self.initializer is not None:
            return (
                f"kept is {self.kept!r}, so the parameter stays unchanged, but it has the "
                f"initializer {self.initializer}"
            )
        try:
            std = self.std
            _ = self.own_target
            if self.initializer is not None:
                self.require_fit(self.initializer)
        except (TypeError, ValueError, ArithmeticError) as error:  # of numbers beyond all floats
            said = (
                str(error) if isinstance(error, ArgumentError) else f"{self.initializer}: {error}"
            )
            return f"the initializer does not fit: {said}"
        if std is not None and not 0 <= std < math.inf:
            return f"{self.initializer} would have the standard deviation {std}"
        return ""
