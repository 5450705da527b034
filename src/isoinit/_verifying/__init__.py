"""What was measured of a model: is its signal alive, was every tensor initialized, what trains.

`health/` (`isoinit.check`), `auditing/` (`isoinit.audit`), `comparing/` (`isoinit.compare`). In the
first two a finding is one function in `finders/`. In `health/` and `comparing/` the folder `torch/`
holds what runs models of torch, with the verb. What stands beside it loads no framework and serves
JAX, too. The doors above (command line, Lightning, tests) import the verbs from these packages.
`sharded` (a sharded tensor as plain ones) is theirs.
"""
