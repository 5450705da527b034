"""The result of a check or an audit: findings, and the verdict that follows from them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from isoinit.errors import UnhealthyError, escaped

SEVERITIES = ("error", "warning", "remark")  # the worst first
ANNOTATED = {"error": "error", "warning": "warning", "remark": "notice"}  # GitHub's words


@dataclass(frozen=True)
class Finding:
    """One problem that a check or an audit found.

    Attributes:
        name: a short handle, such as "vanishing signal".
        severity: "error" makes a model unhealthy. "warning" does so only with `strict=True`.
            "remark" reports a measurement that is no fault of the model.
        where: the names of the layers, parameters or buffers.
        value: the measured value.
        threshold: the limit that the value exceeds.
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
        return f"{self.severity}: {self.said}"

    @property
    def said(self) -> str:
        """What was found and what to do, in one line, with invisible characters escaped."""
        return escaped(f"{self.sentence}; {self.advice}")


class Verdict:
    """Findings, errors first, and whether the model passes."""

    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return not self.failures()

    def failures(self, *, strict: bool = False) -> list[Finding]:
        """Return the findings that fail the model: errors, and with `strict` also warnings."""
        failing = SEVERITIES[:2] if strict else SEVERITIES[:1]
        return [f for f in self.findings if f.severity in failing]

    def raise_if_unhealthy(self, *, strict: bool = False) -> None:
        """Raise `UnhealthyError` with the list of `failures`, if there are any."""
        if failures := self.failures(strict=strict):
            raise UnhealthyError("\n".join(map(str, failures)))

    def to_json(self) -> str:
        """Return the verdict as JSON. Numbers that are not finite become null."""
        return self._json()

    def annotations(self) -> str:
        """Return the findings as annotations, which GitHub Actions shows on a pull request.

        Each finding is one line. Special characters are escaped as in GitHub's own toolkit
        (`escapeData` and `escapeProperty` in actions/toolkit, packages/core/src/command.ts).

        Example:
            >>> import isoinit, torch
            >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 2))
            >>> for parameter in model.parameters():
            ...     _ = torch.nn.init.zeros_(parameter)
            >>> lines = isoinit.check(model, torch.randn(32, 8)).annotations().splitlines()
            >>> any(line.startswith("::error title=isoinit%3A symmetry::") for line in lines)
            True
        """
        return "\n".join(
            f"::{ANNOTATED[f.severity]} title={_property(f'isoinit: {f.name}')}::" + _data(f.said)
            for f in self.findings
        )

    def _json(self, **more: Any) -> str:
        """Return the verdict and more as JSON. Numbers that are not finite become null."""
        findings = [asdict(finding) for finding in self.findings]
        data = {"ok": self.ok, **more, "findings": findings}
        return json.dumps(plain(data), indent=1, allow_nan=False)


def errors_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with the errors first and the remarks last, otherwise in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def plain(data: Any) -> Any:
    """Return data for JSON, which has no NaN and no infinity: None in their place."""
    if isinstance(data, dict):
        return {key: plain(item) for key, item in data.items()}
    if isinstance(data, (list, tuple)):
        return [plain(item) for item in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
