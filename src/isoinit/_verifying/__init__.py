"""What was measured of a model: is its signal alive, was every tensor initialized, what trains.

`health/` (`isoinit.check`), `auditing/` (`isoinit.audit`), `comparing/` (`isoinit.compare`). In the
first two a finding is one function in `finders/`. The doors above (command line, Lightning, tests)
import the verbs from these three packages. `sharded` (a sharded tensor as plain ones) is theirs.
"""
