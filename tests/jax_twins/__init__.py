"""Models written twice, in torch and in JAX: `TWINS`, by name.

The plan of the one must be the plan of the other: `tests/jax/test_twins.py`. To see where they
differ: `PYTHONPATH=src:tests python -m jax_twins [name ...]`.
"""

from __future__ import annotations

from jax_twins import convolutions, decoders, dense, encoders, llama, recurrent, routed, sets, unet
from jax_twins.twin import Source, Twin

ROOMS = (dense, convolutions, unet, decoders, llama, encoders, recurrent, routed, sets)
TWINS: dict[str, Twin] = {twin.name: twin for room in ROOMS for twin in room.TWINS}

__all__ = ["TWINS", "Source", "Twin"]
