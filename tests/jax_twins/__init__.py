"""Models written twice, in torch and in JAX: `TWINS`, by name.

The plan of the one must be the plan of the other: `tests/jax/test_twins.py`. To see where they
differ: `PYTHONPATH=src:tests python -m jax_twins [name ...]`.
"""

from __future__ import annotations

from jax_twins import (
    convolutions,
    decoders,
    dense,
    encoders,
    gemma,
    images,
    llama,
    loops,
    recurrent,
    routed,
    sets,
    stacks,
    unet,
)
from jax_twins.twin import Source, Twin

ROOMS = (
    dense,
    convolutions,
    images,
    unet,
    decoders,
    stacks,
    llama,
    gemma,
    encoders,
    recurrent,
    loops,
    routed,
    sets,
)
TWINS: dict[str, Twin] = {twin.name: twin for room in ROOMS for twin in room.TWINS}

__all__ = ["TWINS", "Source", "Twin"]
