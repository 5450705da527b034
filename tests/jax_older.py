"""What older versions of JAX and its libraries have by other names, for tests that run in all."""

from __future__ import annotations

import inspect
from typing import Any

import equinox as eqx
import jax
from flax import nnx
from jax import experimental

enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else experimental.enable_x64
List = getattr(nnx, "List", list)
Dict = getattr(nnx, "Dict", dict)


def shard_map(function: Any, **options: Any) -> Any:
    """Map a function over shards."""
    if not hasattr(jax, "shard_map"):
        from jax.experimental.shard_map import shard_map

        return shard_map(function, **options)
    return jax.shard_map(function, **options)


def batch_norm(mode: str) -> dict[str, str]:
    """Return the mode of Equinox's batch norm as arguments: older versions have one mode."""
    known = "mode" in inspect.signature(eqx.nn.BatchNorm.__init__).parameters
    return {"mode": mode} if known else {}


def value_of(variable: nnx.Variable) -> Any:
    """Return what a variable of Flax holds."""
    return variable.get_value() if hasattr(type(variable), "get_value") else variable.value


def put_value(variable: nnx.Variable, value: Any) -> None:
    """Put a value into a variable of Flax."""
    if hasattr(type(variable), "set_value"):
        variable.set_value(value)
    else:
        variable.value = value
