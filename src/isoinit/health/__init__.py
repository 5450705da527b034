"""Verifies an initialization: measures the signal through a model, and judges it."""

from isoinit.health.checks import Health, check
from isoinit.health.findings import Finding

__all__ = ["Finding", "Health", "check"]
