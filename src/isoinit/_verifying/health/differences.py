"""Two checks side by side: the same model before and after a change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from isoinit._showing.findings import Finding, plain
from isoinit._showing.folding import Kind, ranged
from isoinit._showing.page import Page, Shown, alike, overlaid
from isoinit._showing.table import render
from isoinit._showing.terminal import counted
from isoinit._verifying.health.records import LayerHealth

COLUMNS = ("layer", "rms before", "rms after", "gradient before", "gradient after")


class Checked(Protocol):
    """What is compared of a check."""

    @property
    def ok(self) -> bool: ...
    @property
    def findings(self) -> list[Finding]: ...
    @property
    def layers(self) -> list[LayerHealth]: ...
    def _page(self) -> Page: ...


@dataclass(frozen=True)
class HealthDifferences(Shown):
    """A check before a change, and one after it.

    Printing it shows the sizes of outputs and gradients side by side, one row a kind of layer, with
    the findings that are gone and those that are new. `to_html` draws both on the same charts.

    Attributes:
        before, after: the checks.

    Example:
        >>> import isoinit, torch
        >>> model = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(20)])
        >>> batch = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
        >>> before = isoinit.check(model, batch)
        >>> _ = isoinit.init(model, batch, seed=0)
        >>> found = before.diff(isoinit.check(model, batch))
        >>> len(found.gone) > 0, found.new
        (True, [])
    """

    before: Checked
    after: Checked

    @property
    def gone(self) -> list[Finding]:
        """The findings of the first check that the second one does not have."""
        return _without(self.before.findings, self.after.findings)

    @property
    def new(self) -> list[Finding]:
        """The findings of the second check that the first one does not have."""
        return _without(self.after.findings, self.before.findings)

    def _page(self) -> Page:
        return overlaid(self.before._page(), self.after._page())

    def to_json(self) -> str:
        """The findings that are gone and new, and each layer's sizes on both sides, as JSON."""
        sides = (self.before, self.after)
        sizes = [
            {x.name: {"rms": x.rms, "gradient": x.gradient} for x in side.layers} for side in sides
        ]
        data = {
            "ok": {"before": self.before.ok, "after": self.after.ok},
            "gone": [asdict(finding) for finding in self.gone],
            "new": [asdict(finding) for finding in self.new],
            "layers": {"before": sizes[0], "after": sizes[1]},
        }
        return json.dumps(plain(data), indent=1, allow_nan=False)

    def __str__(self) -> str:
        verdicts = ["healthy" if side.ok else "unhealthy" for side in (self.before, self.after)]
        said = f"{counted(len(self.gone), 'finding')} gone, {len(self.new)} new"
        old = {x.name: x for x in self.before.layers}
        new = {x.name: x for x in self.after.layers}
        names = list(dict.fromkeys([*new, *old]))
        rows = [_row(kind, names, (old, new)) for kind in alike(names, [""] * len(names))]
        notes = [f"gone: {finding.said}" for finding in self.gone]
        warnings = [str(finding) for finding in self.new]
        return render(
            f"{verdicts[0]} before, {verdicts[1]} after; {said}", COLUMNS, rows, notes, warnings
        )


def _row(
    kind: Kind[int], names: Sequence[str], sides: tuple[dict[str, LayerHealth], ...]
) -> tuple[str, ...]:
    """The cells of layers of one kind: the least and the largest of each size."""
    found = [[side[names[i]] for i in kind.items if names[i] in side] for side in sides]
    rms = [ranged([x.rms for x in side], middle=False, digits=3) for side in found]
    gradient = [ranged([x.gradient for x in side], middle=False, digits=3) for side in found]
    return kind.name, *rms, *gradient


def _without(findings: Sequence[Finding], others: Sequence[Finding]) -> list[Finding]:
    """The findings that are not among others, told by what they are and of which layers."""
    known = {(other.name, other.severity, other.where) for other in others}
    return [f for f in findings if (f.name, f.severity, f.where) not in known]
