"""Width and depth transfer: initial scales and optimizer groups of a large model from a small one's.

`twins` (which parameter of the base stands for which), `growth` (how often its axes grow); `forwards`
with `widths`, `ties` and `depth` (what both forwards do differently, and what the papers want); then
`equations` with `degrees` and `lines`, and `gauges` (multipliers moved into parameters); `rules` (the
published factors); `transferred` with `told` (a plan with all of it); `verb`. `transfers` is what that
returns, `table` prints it, `optimizers/` makes its groups.
"""
