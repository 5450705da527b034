"""How many digits of a number that was worked out a plan keeps."""

from __future__ import annotations


def rounded(number: float) -> float:
    """Round to six digits: the last bits of a sum depend on the processor, and a plan must not."""
    return float(f"{number:.6g}")
