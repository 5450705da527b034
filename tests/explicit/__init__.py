"""Models in the papers' own form: multipliers in the forward, and factors by role, written by hand."""
