"""A parameter's distribution: a Gaussian for each element, whose mean and std are trained.

A weight becomes a draw mean + exp(log_std)·ε with ε ~ N(0, 1), so that gradients reach both through
the draw (Blundell et al. 2015, section 3.2). The mean stays the layer's own parameter, moved to
`layer.parametrizations.weight.original`; the logarithm of the std is
`layer.parametrizations.weight[0].log_std`.

Blundell's std is softplus(ρ). For values well below 1, as all are here, that is exp(ρ) to first
order; the exponential takes a fifth of the time, its logarithm in the divergence is free and exact,
and a step of it is a relative change of the std at any size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from isoinit._reading.torch.names import named_modules
from isoinit._system.private import are_functorch_transforms_active
from isoinit._writing.parametrized import parametrizations_of
from isoinit.variational.noise import Draws, normals
from isoinit.variational.priors import Prior, wide

if TYPE_CHECKING:
    from collections.abc import Iterator

Noise = Literal["common", "local", "flipout"]


class GaussianWeight(nn.Module):
    """A parametrization that draws the parameter: the same draw for the whole of a forward.

    Args:
        log_std: the logarithm of each element's standard deviation, of the parameter's shape.
        prior: what the distribution is held against.
        name: the parameter's, which keys its random numbers.
        draws: which draw is in force; shared by all distributions of a model.
        noise: whether a linear or convolutional layer uses one draw for a whole batch ("common"),
            or noise for each example.
        padding: the row of a lookup table that stands for "nothing" and has no distribution.
    """

    def __init__(
        self,
        log_std: nn.Parameter,
        prior: Prior,
        name: str,
        draws: Draws,
        noise: Noise = "common",
        padding: int | None = None,
    ) -> None:
        super().__init__()
        self.log_std = log_std
        self.prior = prior
        self.name = name
        self.draws = draws
        self.noise = noise
        self.padding = padding

    def forward(self, mean: torch.Tensor) -> torch.Tensor:
        """The parameter under the draw in force, differentiable in mean and std."""
        drawn = self.draws.held(self.name)
        if drawn is None:
            drawn = self.drawn(mean)
            self.draws.hold(self.name, drawn)
        return drawn

    def drawn(self, mean: torch.Tensor) -> torch.Tensor:
        """The same, made anew."""
        if torch.compiler.is_compiling():  # which fuses the products by itself
            return mean + self.deviation(mean)
        draw: Any = _Draw
        drawn: torch.Tensor = draw.apply(mean, self.log_std, self._noise(mean))[0]
        return drawn

    def deviation(self, mean: torch.Tensor) -> torch.Tensor:
        """How far the draw in force is from the mean."""
        return self.std() * self._noise(mean)

    def _noise(self, mean: torch.Tensor) -> torch.Tensor:
        index = self.draws.current()
        noise: torch.Tensor = normals(index, mean.shape, self.name, mean.dtype, mean.device)
        if self.padding is not None:
            noise.select(0, self.padding).zero_()
        return noise

    def std(self) -> torch.Tensor:
        """The standard deviation of every element."""
        return self.log_std.exp()

    def kl(self, mean: torch.Tensor) -> torch.Tensor:
        """KL(posterior ‖ prior) of every element, in nats, in float32 at least."""
        # A sum of millions of terms has no digits left in bfloat16.
        divergence = self.prior.kl(mean.to(wide(mean)), self.log_std.to(wide(mean)))
        if self.padding is not None:
            rows = torch.arange(len(divergence), device=divergence.device)
            divergence = divergence[rows != self.padding]
        return divergence

    def extra_repr(self) -> str:
        """What printing the model shows."""
        return f"{self.name}, {tuple(self.log_std.shape)}, noise={self.noise!r}"


class _Draw(torch.autograd.Function):
    """mean + exp(log_std)·noise, and its second part, which is its own derivative.

    That saves two of three products in the backward pass, and a copy of the mean's gradient.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        mean: torch.Tensor, log_std: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        std = log_std.exp()
        # In place, because fresh memory takes as long as the product; torch.vmap forbids it.
        plain = not are_functorch_transforms_active()
        deviation = std.mul_(noise) if plain else std * noise
        return mean + deviation, deviation

    @staticmethod
    def setup_context(ctx: Any, _: Any, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1])
        ctx.save_for_forward(output[1])

    @staticmethod
    def backward(
        ctx: Any, of_drawn: torch.Tensor | None, of_deviation: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        (deviation,) = ctx.saved_tensors
        both = of_deviation if of_drawn is None else of_drawn
        if of_drawn is not None and of_deviation is not None:  # of a second derivative
            both = of_drawn + of_deviation
        return of_drawn, None if both is None else both * deviation, None

    @staticmethod
    def jvp(
        ctx: Any, mean: torch.Tensor | None, log_std: torch.Tensor | None, _: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        (deviation,) = ctx.saved_tensors
        moved = torch.zeros_like(deviation) if log_std is None else log_std * deviation
        return moved if mean is None else mean + moved, moved


def distributions(model: nn.Module) -> Iterator[tuple[GaussianWeight, torch.Tensor]]:
    """Every distribution of a model once, with its mean, in the order of the model."""
    seen: set[int] = set()
    for _, module in named_modules(model):
        for attribute in held_distributions(module):
            parts = distribution_of(module, attribute)
            assert parts is not None
            if id(parts[0]) not in seen:
                seen.add(id(parts[0]))
                yield parts


def held_distributions(module: nn.Module) -> list[str]:
    """The names of a module's own parameters that are distributions."""
    lists = parametrizations_of(module)
    return [name for name, parts in lists.items() if isinstance(parts[0], GaussianWeight)]


def distribution_of(
    module: nn.Module, attribute: str
) -> tuple[GaussianWeight, torch.Tensor] | None:
    """The distribution and mean of one of a module's parameters; None if it is a plain one."""
    held = module._modules.get("parametrizations")
    parts = held._modules.get(attribute) if isinstance(held, nn.ModuleDict) else None
    if not isinstance(parts, ParametrizationList) or not isinstance(parts[0], GaussianWeight):
        return None
    return parts[0], parts.original
