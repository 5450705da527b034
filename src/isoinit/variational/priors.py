"""What weights are believed to be before any data: the priors that distributions are held against.

A prior is asked for by one of the small classes here, by a number (the standard deviation of a normal
prior around zero) or by any of `torch.distributions`. Its numbers become buffers of the model, so that
a saved model keeps the prior that it was trained under.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from torch import nn
from torch.distributions import Distribution, kl_divergence
from torch.distributions import Normal as TorchNormal

from isoinit.errors import ArgumentError
from isoinit.variational.noise import new_index, normals

TIED, START = "tied", "start"


def wide(tensor: torch.Tensor) -> torch.dtype:
    """The type to compute a divergence in."""
    return torch.promote_types(tensor.dtype, torch.float32)


class Prior(nn.Module):
    """A prior of one parameter: what every element costs."""

    def kl(self, mean: torch.Tensor, log_std: torch.Tensor) -> torch.Tensor:
        """KL(N(mean, std²) ‖ prior) of every element, in nats."""
        raise NotImplementedError


@dataclass(frozen=True)
class NormalPrior:
    """A normal prior.

    Args:
        std: its standard deviation, above 0: in units of the weights, or, if `relative`, of the
            standard deviation that the layer's own weights were planned with.
        mean: where it is centred: at a number; at "start", the posterior's first mean (for trained
            weights, Krishnan et al. 2020); or "tied" to the posterior's present mean, which leaves
            the mean free and restrains only the std.
        relative: see `std`. A prior that shrinks with the layer's fan-in is tight: at temperature 1
            networks of usual sizes underfit under it.

    Raises:
        ArgumentError: for a value out of range.

    Example:
        >>> from isoinit.variational import NormalPrior
        >>> NormalPrior(std=0.5, mean="tied")
        NormalPrior(std=0.5, mean='tied', relative=False)
    """

    std: float = 1.0
    mean: float | str = 0.0
    relative: bool = False

    def __post_init__(self) -> None:
        require_number("NormalPrior", "std", self.std, above=0)
        if self.mean not in (TIED, START):
            require_number("NormalPrior", "mean", self.mean, hint=', or "start", or "tied"')


@dataclass(frozen=True)
class ScaleMixture:
    """A mixture of a wide and a narrow normal around zero: few weights large, most near zero.

    Its divergence has no closed form and is estimated: the entropy exactly, the rest from draws.

    Args:
        share: the wide part's, in (0, 1).
        std: the standard deviation of the wide part.
        narrow: that of the narrow part.
        samples: draws of every weight for one estimate of the divergence.

    Source: Blundell et al. 2015, eq. 7; the defaults are within its section 5.1's grid.

    Raises:
        ArgumentError: for a value out of range.
    """

    share: float = 0.5
    std: float = 1.0
    narrow: float = 0.0025
    samples: int = 1

    def __post_init__(self) -> None:
        require_number("ScaleMixture", "share", self.share, above=0, below=1)
        require_number("ScaleMixture", "std", self.std, above=0)
        require_number("ScaleMixture", "narrow", self.narrow, above=0)
        if not isinstance(self.samples, int) or self.samples < 1:
            raise ArgumentError(
                f"ScaleMixture(samples={self.samples!r}): expected an integer of at least 1"
            )


PriorLike: TypeAlias = "float | NormalPrior | ScaleMixture | Distribution"


def build_prior(prior: PriorLike, mean: torch.Tensor, planned: float, name: str) -> Prior:
    """The prior of one parameter.

    Args:
        prior: as `convert` takes it, for this parameter.
        mean: the parameter, with the posterior's first mean.
        planned: the standard deviation that the parameter was planned with.
        name: the parameter's.

    Raises:
        ArgumentError: if it is of no known kind, on another device than the parameter, of a shape
            that does not fit, or out of the range of the parameter's numbers.
    """
    if isinstance(prior, (int, float)) and not isinstance(prior, bool):
        prior = NormalPrior(prior)
    if isinstance(prior, ScaleMixture):
        return _Mixture(prior, mean, name)
    if isinstance(prior, Distribution):
        return _Any(prior, mean, name)
    if not isinstance(prior, NormalPrior):
        raise ArgumentError(
            f"the prior of {name!r} is {prior!r}; expected a standard deviation above 0, a "
            "NormalPrior, a ScaleMixture, or a distribution of torch.distributions"
        )
    std = prior.std * planned if prior.relative else prior.std
    return _Normal(std, prior.mean, mean, name)


class _Normal(Prior):
    std: torch.Tensor
    mean: torch.Tensor | None

    def __init__(self, std: float, centre: float | str, start: torch.Tensor, name: str) -> None:
        super().__init__()
        self.register_buffer("std", _number(std, start, name, "std"))
        if centre == START:
            # A parameter, though a frozen one, because sharding shards no buffers.
            self.mean = nn.Parameter(start.detach().clone(), requires_grad=False)
        elif centre == TIED:
            self.mean = None
        else:
            self.register_buffer("mean", _number(float(centre), start, name, "mean"))

    def kl(self, mean: torch.Tensor, log_std: torch.Tensor) -> torch.Tensor:
        # E_q[log q - log p] with E_q[(w - μ)²] = σ² and E_q[(w - m)²] = σ² + (μ - m)²:
        # log(s/σ) + (σ² + (μ - m)²)/(2s²) - 1/2 (Blundell et al. 2015, eq. 1, in closed form).
        shift = 0.0 if self.mean is None else ((mean - self.mean) / self.std).square()
        log_ratio = log_std - self.std.log()
        return ((2 * log_ratio).exp() + shift - 1) / 2 - log_ratio


class _Sampled(Prior):
    """A prior whose divergence is estimated from draws of the posterior."""

    samples = 1

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def log_prob(self, weight: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def kl(self, mean: torch.Tensor, log_std: torch.Tensor) -> torch.Tensor:
        # The posterior's own part, E_q[log q] = -log σ - log(2πe)/2, is known and not sampled.
        shape = (self.samples, *mean.shape)
        noise = normals(new_index(), shape, f"{self.name}/prior", mean.dtype, mean.device)
        cross = self.log_prob(mean + log_std.exp() * noise).mean(0)
        return -log_std - math.log(2 * math.pi * math.e) / 2 - cross


class _Mixture(_Sampled):
    log_shares: torch.Tensor
    stds: torch.Tensor

    def __init__(self, prior: ScaleMixture, start: torch.Tensor, name: str) -> None:
        super().__init__(name)
        self.samples = prior.samples
        stds = [_number(std, start, name, "std") for std in (prior.std, prior.narrow)]
        shares = [math.log(prior.share), math.log1p(-prior.share)]
        self.register_buffer("stds", torch.stack(stds))
        self.register_buffer("log_shares", torch.tensor(shares, device="cpu").to(stds[0]))

    def log_prob(self, weight: torch.Tensor) -> torch.Tensor:
        parts = [
            share + TorchNormal(torch.zeros_like(std), std).log_prob(weight)
            for share, std in zip(self.log_shares, self.stds, strict=True)
        ]
        return torch.logaddexp(*parts)


class _Any(_Sampled):
    """One of torch's distributions: by its registered divergence, or by sampling without one."""

    def __init__(self, prior: Distribution, start: torch.Tensor, name: str) -> None:
        super().__init__(name)
        try:
            fits = torch.broadcast_shapes(prior.batch_shape, start.shape) == start.shape
        except RuntimeError:
            fits = False
        if prior.event_shape or not fits:
            raise ArgumentError(
                f"the prior of {name!r} has batch shape {tuple(prior.batch_shape)} and event "
                f"shape {tuple(prior.event_shape)}; expected event shape () and a batch shape "
                f"that broadcasts to {tuple(start.shape)}"
            )
        self.parts = _Parts(prior, start, name)
        try:
            kl_divergence(TorchNormal(start.new_zeros(()), start.new_ones(())), prior)
        except NotImplementedError:
            self.closed = False
        else:
            self.closed = True

    def log_prob(self, weight: torch.Tensor) -> torch.Tensor:
        return self.parts.build().log_prob(weight)

    def kl(self, mean: torch.Tensor, log_std: torch.Tensor) -> torch.Tensor:
        if not self.closed:
            return super().kl(mean, log_std)
        posterior = TorchNormal(mean, log_std.exp(), validate_args=False)
        return kl_divergence(posterior, self.parts.build())


class _Parts(nn.Module):
    """A distribution taken apart into buffers that move and are saved with the model."""

    def __init__(self, prior: Distribution, start: torch.Tensor, name: str) -> None:
        super().__init__()
        self.kind = type(prior)
        self.constants: dict[str, Any] = {}
        for key in inspect.signature(self.kind.__init__).parameters:
            value = None if key in ("self", "validate_args") else _argument(prior, key)
            if isinstance(value, Distribution):
                self.add_module(key, _Parts(value, start, name))
            elif isinstance(value, torch.Tensor):
                if value.device != start.device:
                    raise ArgumentError(
                        f"the prior of {name!r} is on {value.device}, but the parameter is on "
                        f"{start.device}. Build the prior on the parameter's device"
                    )
                self.register_buffer(key, _in_range(value.detach(), start, name, key))
            elif value is not None:
                self.constants[key] = value

    def build(self) -> Distribution:
        nested = {key: cast("_Parts", module).build() for key, module in self._modules.items()}
        kind: Any = self.kind
        built: Distribution = kind(**self._buffers, **nested, **self.constants, validate_args=False)
        return built


def _argument(prior: Distribution, key: str) -> Any:
    """What a distribution was made with: kept under the same name, or that name with an underscore."""
    if key in ("probs", "logits"):  # one of the two was given; the other may have been worked out
        return (
            vars(prior)[key] if key == ("probs" if "probs" in vars(prior) else "logits") else None
        )
    for kept in (key, f"_{key}"):
        if hasattr(prior, kept):
            return getattr(prior, kept)
    raise ArgumentError(
        f"the prior {type(prior).__name__} cannot be saved, because it does not store its "
        f"argument {key!r}. Give a NormalPrior, a ScaleMixture or a simpler class of "
        "torch.distributions"
    )


def _number(value: float, start: torch.Tensor, name: str, what: str) -> torch.Tensor:
    return _in_range(torch.tensor(value, dtype=torch.float64, device="cpu"), start, name, what).to(
        start.device
    )


def _in_range(value: torch.Tensor, start: torch.Tensor, name: str, what: str) -> torch.Tensor:
    """The numbers in the type that the divergence is computed in; refuses what that cannot hold."""
    if not value.is_floating_point():
        return value
    kept = value.to(wide(start))
    lost = ~kept.square().isfinite() | ((value != 0) & (kept == 0))
    if bool(lost.any()):
        kind = str(kept.dtype).removeprefix("torch.")
        raise ArgumentError(
            f"the prior of {name!r} has {what} {value[lost].flatten()[0]}, but its square is out "
            f"of the range of {kind}. Give a number with a square in this range"
        )
    return kept


def require_number(
    owner: str,
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    hint: str = "",
) -> None:
    """Refuse what is no finite number strictly between the bounds."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    if known and above < value < below:
        return
    bounds = [f"above {above:g}"] * (above > -math.inf) + [f"below {below:g}"] * (below < math.inf)
    wanted = f"a finite number {' and '.join(bounds)}".rstrip()
    raise ArgumentError(f"{owner}({name}={value!r}): expected {wanted}{hint}")
