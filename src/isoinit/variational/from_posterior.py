"""New initial weights from a learned posterior: an ensemble, or a fresh network, starts there."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from isoinit._drawing.streams import Stream
from isoinit._drawing.streams.laws import NORMAL_MOST
from isoinit._reading.torch.names import WRAPPERS, named_parameters
from isoinit.errors import ArgumentError, UnknownParameterError
from isoinit.initializers.base import Array, Initializer, store
from isoinit.initializers.scale.fans import Layout
from isoinit.variational.loss import converted

_SIGMA = ".0.log_std"
_HIDDEN = {f"{child}." for child in WRAPPERS.values() if child.startswith("_")}


class _Moments(NamedTuple):
    """A parameter's learned mean, and its standard deviation; None for one with a single value."""

    mean: torch.Tensor
    std: torch.Tensor | None


class _Posterior(dict[str, _Moments]):
    """What was learned of every parameter; compared by identity, as a dataclass's field has to be."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"posterior of {len(self)} parameters"


@dataclass(frozen=True)
class FromPosterior(Initializer):
    """A draw from what training has learned of the weights.

    Each parameter of a plan is drawn from the distribution that the parameter of the same name has
    learned; one that has a single value there (a bias, in most models) gets that value. Under other
    seeds the draws are other networks of the posterior: the members of an ensemble, or fresh starts
    for a network of the same architecture.

    Args:
        source: a model that `isoinit.variational.convert` has converted, or the path of its saved
            `state_dict` (by `torch.save`, or a .safetensors file), with which plans can be saved.
        parameter: the parameter's name; the plan fills it in.

    Raises:
        ArgumentError: if the source has no distribution; if a parameter of the plan is missing in it,
            or has another shape. Nothing was changed then.

    Example:
        >>> import isoinit, torch
        >>> trained = isoinit.variational.convert(torch.nn.Linear(4, 2))
        >>> fresh = torch.nn.Linear(4, 2)
        >>> plan = isoinit.plan(fresh, overrides={"*": isoinit.FromPosterior(trained)})
        >>> bool((plan.apply(fresh, seed=1).bias == trained.bias).all())
        True
    """

    source: str | os.PathLike[str] | nn.Module
    parameter: str = ""

    def __post_init__(self) -> None:
        source: Any = self.source
        if isinstance(source, nn.Module):
            source = _of_model(source)
        elif isinstance(source, (str, os.PathLike)):
            source = os.fspath(source)
            _read(source)
        elif not isinstance(source, _Posterior):
            raise ArgumentError(
                f"FromPosterior(source={type(source).__name__}): expected a converted model or the "
                "path of its saved state_dict"
            )
        object.__setattr__(self, "source", source)

    def for_parameter(self, name: str) -> FromPosterior:
        """The same for one parameter."""
        return replace(self, parameter=name)

    def mean_for(self, layout: Layout) -> float:
        """The mean of the learned means over the elements."""
        return float(self._moments(layout).mean.double().mean())

    def std_for(self, layout: Layout) -> float:
        """The standard deviation of a drawn element, over elements and draws."""
        mean, std = self._moments(layout)
        spread = float(mean.double().var(correction=0)) if mean.numel() else 0.0
        return math.sqrt(spread + (0.0 if std is None else float(std.double().square().mean())))

    def largest_for(self, layout: Layout) -> float:
        """Return what the element of the largest mean and std can draw at most."""
        mean, std = self._moments(layout)
        spread = 0.0 if std is None or not std.numel() else float(std.double().max())
        return (float(mean.double().abs().max()) if mean.numel() else 0.0) + NORMAL_MOST * spread

    def fill(self, out: Array, stream: Stream, layout: Layout, start: int = 0) -> None:
        """Draw elements `start` to `start + len(out)`."""
        mean, std = (
            None if part is None else part.reshape(-1)[start : start + out.size].double().numpy()
            for part in self._moments(layout)
        )
        assert mean is not None
        if std is not None:
            noise = np.empty(out.size, np.float32)
            stream.normal(noise, start)
            mean = mean + std * noise
        store(mean, out)

    def to_dict(self) -> dict[str, Any]:
        """The initializer as plain JSON data; only one with a path has such."""
        if isinstance(self.source, _Posterior):
            raise ArgumentError(
                "the plan draws from a model in memory, so it cannot be saved. Save the model's "
                "state_dict, and pass its path to FromPosterior"
            )
        return super().to_dict()

    def __str__(self) -> str:
        source = Path(self.source).name if isinstance(self.source, str) else "a model"
        return f"FromPosterior({source})"

    def _moments(self, layout: Layout) -> _Moments:
        known = _read(self.source) if isinstance(self.source, str) else self.source
        assert isinstance(known, _Posterior)
        if not self.parameter:
            raise ArgumentError(
                "FromPosterior needs a parameter name to find its distribution. Use it in a plan, "
                'isoinit.plan(model, overrides={"*": isoinit.FromPosterior(source)})'
            )
        if self.parameter not in known:
            why = UnknownParameterError(self.parameter, known)
            raise ArgumentError(f"the posterior is of another architecture: {why}")
        moments = known[self.parameter]
        if tuple(moments.mean.shape) != layout.shape:
            raise ArgumentError(
                f"the posterior is of another architecture: {self.parameter!r} has shape "
                f"{tuple(moments.mean.shape)} there and {layout.shape} in the model"
            )
        return moments


def _of_model(model: nn.Module) -> _Posterior:
    found = _Posterior(
        (gaussian.name, _Moments(_kept(mean), _kept(gaussian.std())))
        for gaussian, mean in converted(model)
    )
    parameters, aliases = named_parameters(model)
    plain = {
        name: parameter
        for name, parameter in parameters.items()
        if ".parametrizations." not in f".{name}"
    }
    for name in (*plain, *aliases):
        if name in plain or aliases[name] in plain:
            found.setdefault(name, _Moments(_kept(plain[aliases.get(name, name)]), None))
    return found


def _kept(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().clone()


def _read(path: str) -> _Posterior:
    """The posterior in a file, read once while the file stays the same."""
    try:
        stat = os.stat(path)
    except OSError as error:
        raise ArgumentError(
            f"FromPosterior(source={path!r}) cannot be read: {error.strerror}; expected the path of "
            "a converted model's saved state_dict"
        ) from None
    return _read_once(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read_once(path: str, *_: int) -> _Posterior:
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that is none of these makes them raise
        raise ArgumentError(
            f"FromPosterior(source={path!r}) is not a saved state_dict: "
            f"{str(error).splitlines()[0]}"
        ) from None
    if not isinstance(state, Mapping):
        raise ArgumentError(
            f"FromPosterior(source={path!r}) holds a {type(state).__name__}; expected the state_dict "
            "of a converted model"
        )
    return _of_state({_bare(key): value for key, value in _unprefixed(state).items()}, path)


def _unprefixed(state: Mapping[str, Any]) -> dict[str, Any]:
    """Without what DDP puts in front of every name."""
    ahead = "module." if all(key.startswith("module.") for key in state) else ""
    return {key.removeprefix(ahead): value for key, value in state.items()}


def _bare(key: str) -> str:
    for hidden in _HIDDEN:
        key = key.replace(hidden, "")
    return key


def _of_state(state: Mapping[str, Any], path: str) -> _Posterior:
    found = _Posterior()
    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            continue
        at, found_in, attribute = f".{key}".rpartition(".parametrizations.")
        if not found_in:
            found[key] = _Moments(value, None)
        elif attribute.endswith(".original"):
            log_std = state.get(key.removesuffix(".original") + _SIGMA)
            name = f"{at}.{attribute.removesuffix('.original')}".removeprefix(".")
            found[name] = _Moments(value, None if log_std is None else log_std.exp())
    if all(moments.std is None for moments in found.values()):
        raise ArgumentError(
            f"FromPosterior(source={path!r}) holds no distribution; expected the state_dict of a "
            "model from isoinit.variational.convert"
        )
    return found
