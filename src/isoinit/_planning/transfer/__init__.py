"""Width and depth transfer: initial scales and optimizer groups of a large model from a small one's.

`twins` (which parameter of the base stands for which), `growth` (how often its axes grow), `forwards`
(what the two forwards do differently: score scales, factors of embeddings), `equations` and `gauges`
(multipliers that the papers put into the forward, moved into the parameters around them), `rules` (the
published factors), `transferred` (a plan with all of it), `transfers` (the groups). Import the names
below from here.
"""
