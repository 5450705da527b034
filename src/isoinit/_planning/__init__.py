"""Which initializer each parameter gets, and why. No framework, but for `calibration` and `recipes`.

`rules` (the rule book), `propagation` (the expected signal), `choose` (both, in order of execution),
`asked` (which parameters a call is for), `beside` (what a position joins), `effective` and `charts`
(what makes a computed weight the one that was chosen), `measured` (what cannot be worked out),
`decide` (all of these for one model), `doubts`, `trained` (does a model look so), `digits`, `plan` (a
plan as data), `saved`, `shown`, `overrides`, `differences`, `recipes`, `calibration`, and `verbs`
(`plan`, `init`, `read`). Import `Plan` from `plan`, and the verbs from `verbs`.
"""
