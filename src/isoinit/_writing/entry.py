"""An entry of a plan: what one parameter gets, and why."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from isoinit.initializers import Initializer
from isoinit.initializers.scale.fans import Layout


@dataclass(frozen=True)
class Entry:
    """What one parameter gets, and why.

    Attributes:
        name: the parameter's name, as it is without wrappers.
        role: what it is for, in words: "weight before relu", "norm scale", "embedding".
        initializer: what it is filled with; None leaves it as it was.
        layout: what its axes mean, and its shape.
        dtype: its type, such as "float32".
        reason, source: why, and who found it out.
        expected: for the weight of a layer, the root mean square that its output is expected to have;
            None where that cannot be worked out.
        target: the same for a standardized input, whatever the example: what the plan means it to
            have, and `Plan.calibrate` makes of it.
        expected_gradient: for the weight of a layer, the root mean square expected of the loss's
            gradient by its output, relative to that at the model's output: for white noise of root
            mean square one at every tensor that the model returns, scalars beside others left out.
            0 where no gradient comes back; None where it cannot be worked out.
        fed, feeds: what feeds a weight, and where its output goes, in words.
        rule, close: the rule that decided, and those that would have, had it not; "" and () where
            the choice was yours or a recipe's.
        numbers: what stands in the rule's formula.
        must_differ: whether it is a weight matrix whose units would stay identical if they started
            so: any but one that ends a residual branch.
        kept: what makes the plan keep the values that the parameter has: "frozen" (it is not
            trained), "copy" (of a parameter that is planned), "own" (its constructor gives it values
            that mean something), "loaded", "only" (it is none of those asked for) or "type" (its
            type is not drawn); "" for a parameter that is planned.
        copies: the parameter whose values it takes; "" for one that has values of its own.
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
        """The standard deviation of an element; None where the parameter is left as it was."""
        return None if self.initializer is None else self.initializer.std_for(self.layout)

    @property
    def fan_in(self) -> float | None:
        """Terms that add up in one output; None for vectors."""
        return self.layout.fan_in if self.layout.is_map else None

    @property
    def fan_out(self) -> float | None:
        """Outputs that one input reaches; None for vectors."""
        return self.layout.fan_out if self.layout.is_map else None

    @property
    def gain(self) -> float | None:
        """The gain of the initializer; None if it has none."""
        return getattr(self.initializer, "gain", None)

    @property
    def warning(self) -> str:
        """What is wrong with the entry; empty if nothing is."""
        if self.kept:
            return ""
        if self.initializer is None:
            return f"{self.name!r} is left as it was: {self.reason}"
        if self.must_differ and self.initializer.is_constant:
            return (
                f"{self.name!r} is a weight matrix filled with {self.initializer}: all its units "
                "compute the same and receive the same gradient, so symmetry stays unbroken and the "
                "layer learns no more than one unit; give it a random or orthogonal initializer"
            )
        return ""

    @property
    def own_target(self) -> float | None:
        """The standard deviation that the plan means a weight's work to have, without its bias."""
        if not self.target:
            return None
        bias = dict(self.numbers).get("σ_b²", 0.0)
        return math.sqrt(max(self.target**2 - bias, 0.0)) or None

    def to_dict(self) -> dict[str, Any]:
        """The entry as plain JSON data, without its name; `from_dict` reads it back."""
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
        }

    @classmethod
    def from_dict(cls, name: str, data: dict[str, Any]) -> Entry:
        """Read what `to_dict` wrote.

        Raises:
            ArgumentError, KeyError, TypeError: if it holds what no entry can.
        """
        initializer = data["initializer"]
        entry = cls(
            name,
            data["role"],
            None if initializer is None else Initializer.from_dict(initializer),
            Layout.from_dict(data["layout"]),
            data["dtype"],
            data["reason"],
            data["source"],
            data["must_differ"],
            data["expected"],
            data["target"],
            data["fed"],
            data["feeds"],
            data["rule"],
            tuple(data["close"]),
            tuple(data["numbers"].items()),
            data.get("expected_gradient"),  # plans of before did not have these
            data.get("kept", ""),
            data.get("copies", ""),
        )
        _ = entry.std  # refuses an initializer that does not fit the layout
        return entry
