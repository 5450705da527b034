"""Which initializer each parameter gets, and why. No framework, but for `calibration` and `recipes`.

`rules` (the rule book), `propagation` (the expected signal), `choose` (both, in order of execution),
`charts` (what makes a computed weight the one that was chosen), `plan` (a plan as data), `saved`,
`shown`, `overrides`, `differences`, `recipes`, `calibration`, and `verbs` (`plan`, `init`, `read`).
Import `Plan` from `plan`, and the verbs from `verbs`.
"""
