"""Verifies an initialization: measures the signal through a model, and judges it.

What judges is free of any framework: `records` (the numbers), `doubts` (what stays zero or alike),
`behind` and `blame` → `facts` → `finders/` → `judge` → `results` (`Health`), with `pages` and `table`.
What measures stands below: `torch/` measures models of torch, `arrays/` the NumPy arrays that
`isoinit.jax.check` has. Import from the files themselves: this package loads none of them.
"""
