"""A model written twice, in torch and in JAX, and where each JAX parameter has its values from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Source:
    """Where a JAX parameter has its values from.

    Attributes:
        names: the torch parameters that it is made of, in order.
        make: the JAX array, of their arrays.
        packing: "" for one whole torch parameter; "stacked" for layers along the first axis;
            "joined" for projections or gates side by side; "part" for a part of a torch parameter;
            "summed" for two biases that always add up.
    """

    names: tuple[str, ...]
    make: Callable[..., np.ndarray]
    packing: str = ""


Names = dict[str, Source]


@dataclass(frozen=True)
class Twin:
    """A model written twice.

    Attributes:
        name: what the model is.
        library: what the JAX model is written with: "nnx", "linen", "equinox", "haiku", "function".
        build_torch: the torch model and its batch, a tuple of tensors.
        build_jax: what `isoinit.jax.plan` takes. The values of parameters are zeros; inputs are those
            of the torch batch, in the order of axes that JAX models take.
        names: where each JAX parameter has its values from, by name.
        output: the JAX model's output in the torch model's order of axes.
    """

    name: str
    library: str
    build_torch: Callable[[], tuple[nn.Module, tuple[torch.Tensor, ...]]]
    build_jax: Callable[[], tuple[Any, ...]]
    names: Callable[[], Names]
    output: Callable[[np.ndarray], np.ndarray] = lambda array: array


def generator() -> np.random.Generator:
    """Return what inputs are drawn from: the same for both twins."""
    return np.random.default_rng(0)


def normals(*shape: int) -> np.ndarray:
    """Return a batch of standard normals, the same at every call."""
    return generator().standard_normal(shape).astype(np.float32)


def tokens(*shape: int, below: int) -> np.ndarray:
    """Return a batch of token ids, the same at every call."""
    return generator().integers(0, below, shape).astype(np.int32)


def tensors(*arrays: np.ndarray) -> tuple[torch.Tensor, ...]:
    """Return a batch for torch; ids as int64."""
    return tuple(
        torch.from_numpy(array if array.dtype == np.float32 else array.astype(np.int64))
        for array in arrays
    )


def channels_first(images: np.ndarray) -> np.ndarray:
    """Return (N, ..., C) as (N, C, ...)."""
    return np.ascontiguousarray(np.moveaxis(images, -1, 1))


# Sources


def same(name: str) -> Source:
    return Source((name,), lambda array: array)


def turned(name: str) -> Source:
    """A kernel (in, out) of a weight (out, in)."""
    return Source((name,), lambda array: array.T)


def reshaped(name: str, *shape: int) -> Source:
    return Source((name,), lambda array: array.reshape(shape))


def heads_out(name: str, heads: int) -> Source:
    """A kernel (in, heads, size) of a projection (heads * size, in)."""
    return Source((name,), lambda array: array.T.reshape(array.shape[1], heads, -1))


def heads_in(name: str, heads: int) -> Source:
    """A kernel (heads, size, out) of a projection (out, heads * size)."""
    return Source((name,), lambda array: array.T.reshape(heads, -1, array.shape[0]))


def taps_first(name: str) -> Source:
    """A kernel (*taps, in, out) of a convolution's weight (out, in, *taps)."""
    return Source((name,), lambda array: np.moveaxis(array, (1, 0), (-2, -1)))


def taps_mirrored(name: str) -> Source:
    """A kernel (*taps, in, out) of a transposed convolution's weight (in, out, *taps).

    Flax does not mirror the taps, torch does.
    """
    return Source((name,), lambda array: np.moveaxis(np.flip(array, (2, 3)), (0, 1), (-2, -1)))


def stacked(sources: Iterable[Source]) -> Source:
    """Layers along a new first axis, as `scan` takes them. Each source has one torch parameter."""
    parts = tuple(sources)
    return Source(
        tuple(part.names[0] for part in parts),
        lambda *arrays: np.stack([p.make(a) for p, a in zip(parts, arrays, strict=True)]),
        "stacked",
    )


def joined(axis: int, *sources: Source) -> Source:
    """Projections side by side along an axis. Each source has one torch parameter."""
    return Source(
        tuple(part.names[0] for part in sources),
        lambda *arrays: np.concatenate(
            [p.make(a) for p, a in zip(sources, arrays, strict=True)], axis
        ),
        "joined",
    )


def summed(*names: str) -> Source:
    """One bias for torch's two, which always add up."""
    return Source(names, lambda *arrays: np.sum(arrays, axis=0), "summed")


def part_of(name: str, index: int, parts: int, make: Callable[..., np.ndarray]) -> Source:
    """The part at an index of a torch parameter that packs several along its first axis."""
    return Source((name,), lambda array: make(np.split(array, parts)[index]), "part")


def together(*parts: Names) -> Names:
    """Return the names of all parts. No name may come twice."""
    names = [name for part in parts for name in part]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"these parameters have two sources: {sorted(twice)}")
    return {name: source for part in parts for name, source in part.items()}


# Layers


def dense(jax: str, torch: str, bias: bool = True) -> Names:
    """A `Linear` or `Dense` of Flax."""
    names = {f"{jax}.kernel": turned(f"{torch}.weight")}
    return names | ({f"{jax}.bias": same(f"{torch}.bias")} if bias else {})


def conv(jax: str, torch: str, bias: bool = True) -> Names:
    """A `Conv` of Flax, channels last."""
    names = {f"{jax}.kernel": taps_first(f"{torch}.weight")}
    return names | ({f"{jax}.bias": same(f"{torch}.bias")} if bias else {})


def transposed_conv(jax: str, torch: str, bias: bool = True) -> Names:
    """A `ConvTranspose` of Flax, channels last."""
    names = {f"{jax}.kernel": taps_mirrored(f"{torch}.weight")}
    return names | ({f"{jax}.bias": same(f"{torch}.bias")} if bias else {})


def norm(jax: str, torch: str, bias: bool = True) -> Names:
    """A norm layer of Flax."""
    names = {f"{jax}.scale": same(f"{torch}.weight")}
    return names | ({f"{jax}.bias": same(f"{torch}.bias")} if bias else {})


def alike(jax: str, torch: str, bias: bool = True) -> Names:
    """A layer of Equinox, which stores what torch stores, under the same names."""
    names = {f"{jax}.weight": same(f"{torch}.weight")}
    return names | ({f"{jax}.bias": same(f"{torch}.bias")} if bias else {})


def affine(jax: str, torch: str, bias: bool = True) -> Names:
    """A linear layer of Haiku, or of plain functions here: `w` and `b`."""
    names = {f"{jax}.w": turned(f"{torch}.weight")}
    return names | ({f"{jax}.b": same(f"{torch}.bias")} if bias else {})
