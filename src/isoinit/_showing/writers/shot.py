"""What is written of a check: counts, findings, one row for each layer, and the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from isoinit._showing.findings import Finding

Number = float | int


@dataclass(frozen=True)
class Shot:
    """A check at one step of a training.

    Attributes:
        findings: errors and warnings.
        layers: dataclasses with a `name`, in the order in which they ran.
        loss: of the batch; None where there was none.
        page: makes the page in HTML.
    """

    findings: Sequence[Finding]
    layers: Sequence[Any]
    loss: float | None
    page: Callable[[], str]

    def numbers(self) -> dict[str, Number]:
        """Return what is one number, by name."""
        severities = [finding.severity for finding in self.findings]
        counts: dict[str, Number] = {f"{s}s": severities.count(s) for s in ("error", "warning")}
        return counts if self.loss is None else counts | {"loss": self.loss}

    def columns(self) -> list[str]:
        """Return the names of the numbers that any layer has."""
        return list(dict.fromkeys(name for layer in self.layers for name in numbers_of(layer)))

    def curves(self) -> dict[str, list[tuple[int, Number]]]:
        """Return for each number that was measured of a layer its points: depth and value."""
        found: dict[str, list[tuple[int, Number]]] = {}
        for depth, layer in enumerate(self.layers):
            for name, number in numbers_of(layer).items():
                if not math.isnan(number):
                    found.setdefault(name, []).append((depth, number))
        return found

    def rows(self) -> list[list[str | Number | None]]:
        """Return for each layer its depth, its name and its numbers, None where it has none."""
        columns = self.columns()
        return [
            [depth, layer.name, *map(numbers_of(layer).get, columns)]
            for depth, layer in enumerate(self.layers)
        ]


def numbers_of(layer: Any) -> dict[str, Number]:
    """Return what was measured of a layer; `value` says which value of the graph it was."""
    found = {field.name: getattr(layer, field.name) for field in fields(layer)}
    return {n: x for n, x in found.items() if isinstance(x, (int, float)) and n != "value"}
