"""Reproducible random numbers: each element is a pure function of seed, name and index."""

from isoinit.random.stream import Stream

__all__ = ["Stream"]
