"""Reproducible random numbers: each element is a pure function of seed, name and index."""

from isoinit._drawing.streams.stream import Stream

__all__ = ["Stream"]
