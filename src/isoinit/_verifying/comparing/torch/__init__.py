"""Builds a model of torch by each method, trains it for a few steps, and checks it.

`starts` (how a model starts) and `training` (steps, watched) → `trials` (one method) → `comparisons`
(the verb `isoinit.compare`). `coordinates/` trains by `training`, too. Import from the files
themselves: this package loads none of them.
"""
