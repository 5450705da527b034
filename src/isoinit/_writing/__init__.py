"""Values into the tensors of a model, whole or one process's shard, validated before the first write.

`entry` (what one parameter gets: plain data), `refusals`, `apply` (a plan), `fill` (tensors), `slice`
(a part), `seeds`, `placements` (where parameters lie), `meta`, `deferred`, `postponed`, `torch_init`,
`own_init`, `poison`, `parametrized`, `assigning` (what follows from a weight),
`stored` (what a checkpoint has), `counted` (writes), `fingerprint`. All but
`entry` and `slice` import torch. Planning, verifying and the public packages import them by name.
"""
