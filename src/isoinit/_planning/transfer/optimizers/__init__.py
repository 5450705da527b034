"""What a transfer is to an optimizer: its groups, whether it still has them, and clipping.

`grouping` (which parameters share a group, and its name; no torch) → `matching` (a model's parameters
by the plan's names) → `groups`, `clipping`; `classes` and `ratios` → `verify`. `Transfer` opens them.
"""
