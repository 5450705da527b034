"""Width and depth transfer: initial scales and optimizer groups of a large model from a small one's.

`twins` (which parameter of the base stands for which) and `growth` (how often its axes grow); `forwards`
with `widths`, `ties` and `depth` (what the two forwards do differently, and what the papers want them
to); `equations` with `degrees` and `lines`, then `gauges` (multipliers moved into parameters); `rules`
(the published factors); `transferred` with `told` (a plan with all of it); `verb`. `transfers` is what it
returns, `table` prints it, `optimizers/` makes its groups.
"""
