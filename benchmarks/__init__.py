"""Benchmarks: every speed is a ratio against a named peer, measured in the same process.

`python -m benchmarks` runs all of them and writes `results.md`; `python -m benchmarks fill` only one.
"""
