"""Measures a model of torch: one forward and one backward pass, and a few steps.

`passes` → `measure` with `layers`, `weights`, `units` and `same` (parameters), `ahead` and `influence`
(what training makes of them), `jacobian` and `nonfinite`. `checks` is the verb `isoinit.check`. What
judges, above, imports nothing from here. Import from the files themselves: this package loads none.
"""
