"""Verifies an initialization: measures the signal through a model, and judges it."""

from isoinit._verifying.health.checks import Health, check

__all__ = ["Health", "check"]
