"""Audits a small model of every architecture family of `transformers`; see `__main__`."""
