"""Measures NumPy arrays, which any framework can give: what `torch/` does, without torch.

`layers` (a layer's output and its gradient) and `weights` (parameters, their units, and the first
step). `isoinit.jax.check` calls them with what it has recorded. Import from the files themselves:
this package loads none of them.
"""
