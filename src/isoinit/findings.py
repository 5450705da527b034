"""What a check or an audit answers with: findings, and a verdict that follows from them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from isoinit.errors import UnhealthyError


@dataclass(frozen=True)
class Finding:
    """One thing that a check or an audit found.

    Attributes:
        name: a short handle, such as "vanishing signal".
        severity: "error" makes a model unhealthy; "warning" does not.
        where: the names of the layers, parameters or buffers.
        value: what was measured.
        threshold: the limit that it broke.
        source: why the limit matters.
        advice: what to do.
        sentence: what was found, in words.
    """

    name: str
    severity: str
    where: tuple[str, ...]
    value: float
    threshold: float
    source: str
    advice: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.sentence}; {self.advice}"


class Verdict:
    """Findings, errors first, and whether they let a model pass."""

    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)

    def raise_if_unhealthy(self) -> None:
        """Raise `UnhealthyError`, listing the errors, unless `ok`."""
        errors = [str(finding) for finding in self.findings if finding.severity == "error"]
        if errors:
            raise UnhealthyError("\n".join(errors))

    def _json(self, **more: Any) -> str:
        """The verdict and more as JSON; numbers that are not finite become null."""
        findings = [asdict(finding) for finding in self.findings]
        data = {"ok": self.ok, **more, "findings": findings}
        return json.dumps(_plain(data), indent=1, allow_nan=False)


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _plain(data: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(data, dict):
        return {key: _plain(item) for key, item in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(item) for item in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
