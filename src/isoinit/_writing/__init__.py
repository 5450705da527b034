"""Values into the tensors of a model, whole or one process's shard, validated before the first write.

`entry` (what one parameter gets: plain data), `apply` (a plan), `fill` (tensors), `slice` (a part),
`placements` (where parameters lie), `refusals` (what is checked before a write), `parametrized` (what
conversions install), `meta`, `deferred`, `own_init`, `poison`, `fingerprint`.
All but `entry` import torch. Planning, verifying and the public packages import them by name.
"""
