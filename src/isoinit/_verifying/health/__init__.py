"""Verifies an initialization: measures the signal through a model, and judges it.

`passes` (forward and backward, watched) → `measure` with `layers`, `weights`, `jacobian` and
`nonfinite` → `facts` → `finders/` → `judge`; `pages` (a check as a page), `checks` (the verb). Import
`Health` and `check` from here; comparing also takes `passes`.
"""

from isoinit._verifying.health.checks import Health, check

__all__ = ["Health", "check"]
