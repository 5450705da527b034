"""Random numbers and matrices as pure functions of seed, name and place. No framework.

`streams` (Philox, keyed by seed and name), `haar` (random orthogonal matrices), `hashing` (sums of
hashes), `shard` (which elements a process holds), `backend` and `jit` (NumPy, or Numba's compiled
code). Import `Stream` from `_drawing.streams`, and the other modules by their names.
"""
