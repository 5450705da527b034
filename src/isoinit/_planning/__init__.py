"""Which initializer each parameter gets, and why. No framework, but for what reads or runs a model.

`rules` (the rule book), `propagation` (the expected signal), `choose` (both, in order of execution),
`before` and `copies` (the values that parameters have, and whose they are), `asked` (which parameters
a call is for), `starving` (zeros that are kept and should not be), `beside` (what a position joins),
`effective` and `charts` (what makes a computed weight the one that was chosen), `measured` (what
cannot be worked out), `decide` (all of these for one model), `entries`, `doubts`, `trained` (does a
model look so), `digits`, `plan` (a plan as data), `saved`, `shown`, `overrides`, `differences`,
`recipes`, `calibration`, and `verbs` (`plan`, `init`, `read`). Import `Plan` from `plan`, and the
verbs from `verbs`. torch is loaded by `before`, `copies`, `asked`, `trained`, `recipes` and
`calibration`.
"""
