"""Verifies an initialization: measures the signal through a model, and judges it.

What is judged is free of any framework: `records` (the numbers), `doubts` (what stays zero or alike),
`behind` and `blame` → `facts` → `finders/` → `judge` → `results` (`Health`), with `pages` and `table`.
torch measures by `passes` → `measure` with `layers`, `weights`, `ahead`, `jacobian` and `nonfinite`;
`checks` is the verb. JAX measures with NumPy, by `arrays` and `array_weights`; its verb is
`isoinit.jax.check`. Import from the files themselves: this package loads none of them.
"""
