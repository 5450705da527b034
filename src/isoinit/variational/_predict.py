"""What a model with learned distributions says, and how sure it is: many draws of its weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.nn.utils import parametrize

from isoinit._reading.torch import as_arguments
from isoinit._reading.torch.names import unwrap
from isoinit._reading.torch.rng import generators_kept, seed_generators
from isoinit._showing.terminal import Printed, Tabled, counted
from isoinit._system.signals import call_user
from isoinit._writing.seeds import resolve_seed
from isoinit.errors import ArgumentError, IsoinitWarning
from isoinit.variational._shown import table
from isoinit.variational.gaussian import GaussianWeight, distribution_of
from isoinit.variational.loss import at_prior, converted
from isoinit.variational.noise import new_index
from isoinit.variational.priors import require_number

Likelihood = Literal["values", "logits", "normal"]


@dataclass(frozen=True, repr=False)
class Prediction(Tabled):
    """The model's answer over draws of its weights, and how its variance is made up.

    The total variance of an answer is the mean over draws of its variance within a draw (aleatoric:
    the noise of the data, which more data would not lower) plus the variance over draws of its mean
    (epistemic: what the model does not know).

    Attributes:
        draws: (samples, examples, ...): the answer under each draw: the output for "values", its mean
            for "normal", the probabilities for "logits".
        mean: the average answer: (examples, ...).
        total, epistemic, aleatoric: variances, of the shape of the mean, in the square of its units.
        entropy: for "logits", (examples,): of the average probabilities, in nats.
        mutual_information: for "logits", (examples,): the entropy less the mean entropy within a draw:
            the part of it that is epistemic, 0 where all draws agree.
    """

    draws: torch.Tensor
    mean: torch.Tensor
    total: torch.Tensor
    epistemic: torch.Tensor
    aleatoric: torch.Tensor
    entropy: torch.Tensor | None = None
    mutual_information: torch.Tensor | None = None

    @property
    def std(self) -> torch.Tensor:
        """The standard deviation of the total."""
        return self.total.sqrt()

    def show(self, *, verbose: bool = False) -> Printed:
        """Return the prediction as a table: the least, the median and the largest of each quantity.

        Of values these are the mean, and the standard deviations whose squares are `total`,
        `epistemic` and `aleatoric`; of classes the probability of the likeliest one, `entropy` and
        `mutual_information`.

        Args:
            verbose: a row for every answer: for each example and output, or each example and place
                of classes.

        Returns:
            Text, no wider than the terminal. `print(prediction)` prints it, too.

        Example:
            >>> import torch
            >>> from isoinit import variational
            >>> model = variational.convert(torch.nn.Linear(4, 2))
            >>> prediction = variational.predict(model, torch.ones(3, 4))
            >>> prediction
            <Prediction: 3 examples, 2 outputs each, 32 draws>
            >>> prediction.show().splitlines()[2].split()
            ['of', 'all', 'answers', 'least', 'median', 'largest']
        """
        return table(f"prediction of {self._size()}", self._quantities(), verbose)

    def _quantities(self) -> dict[str, torch.Tensor]:
        """What the table shows, by name."""
        if self.entropy is None or self.mutual_information is None:
            parts = {"epistemic": self.epistemic, "aleatoric": self.aleatoric}
            roots = {name: part.sqrt() for name, part in parts.items()}
            return {"mean": self.mean, "std": self.std, **roots}
        axis = 1 if self.mean.ndim > 2 else -1
        return {
            "probability": self.mean.amax(axis),
            "entropy": self.entropy,
            "information": self.mutual_information,
        }

    def _size(self) -> str:
        examples = len(self.mean) if self.mean.ndim else 1
        each = self.mean.numel() // max(examples, 1)
        outputs = counted(each, "output")
        return f"{counted(examples, 'example')}, {outputs} each, {counted(len(self.draws), 'draw')}"

    def __repr__(self) -> str:
        return f"<Prediction: {self._size()}>"


def predict(
    model: nn.Module,
    x: Any,
    samples: int = 32,
    *,
    likelihood: Likelihood = "values",
    noise_std: float | torch.Tensor = 0.0,
    seed: int | None = None,
) -> Prediction:
    """Run a converted model on an input under many draws of its weights; no gradients are recorded.

    Each sample is one network of the posterior. Where that gives the same answers in a third of the
    time (chains of linear layers on one row an example), the outputs of the layers are drawn in place
    of their weights, all samples at once.

    Warns with an IsoinitWarning if most units of the model have fallen back to the prior.

    Args:
        model: a model that `convert` has converted; its train or eval mode stays as it is, so call
            `model.eval()` first if it has dropout or batch norm.
        x: an input, as for `isoinit.plan`: a tensor for `model(x)`, a tuple for `model(*x)`, or a
            mapping for `model(**x)`.
        samples: how many draws, at least 2. A standard deviation from 32 draws is itself right to 13
            percent (1/sqrt(2·31)), the mean to a sixth of it; both errors fall as 1/sqrt(samples).
        likelihood: what the model returns: "values"; "logits", over the last axis (or over axis 1
            of images and maps), turned into probabilities, also as the `.logits` of a `transformers`
            output; or "normal", a pair of mean and variance, as `torch.nn.GaussianNLLLoss` takes.
        noise_std: for "values", the standard deviation of the data's noise, in units of the output.
        seed: of the draws; the same seed gives the same ones on any device. None takes them from
            torch's default generator.

    Raises:
        ArgumentError: for fewer than 2 samples, an input of another kind, or a model that is not
            converted or returns something else than its likelihood says.

    Source: Blundell et al. 2015, section 3: the expectation under the posterior, by Monte Carlo; the
        parts: Depeweg et al. 2018, eq. 3 and 6.

    Example:
        >>> import torch
        >>> from isoinit import variational
        >>> model = variational.convert(torch.nn.Linear(4, 2))
        >>> prediction = variational.predict(model, torch.ones(3, 4))
        >>> prediction.mean.shape, bool((prediction.epistemic > 0).all())
        (torch.Size([3, 2]), True)
    """
    args, kwargs = as_arguments(x)
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 2:
        raise ArgumentError(
            f"predict(samples={samples!r}): expected an integer of at least 2, because one draw "
            "has no std"
        )
    if likelihood not in get_args(Likelihood):
        kinds = ", ".join(map(repr, get_args(Likelihood)))
        raise ArgumentError(f"predict(likelihood={likelihood!r}): expected one of {kinds}")
    if not isinstance(noise_std, torch.Tensor):
        require_number("predict", "noise_std", noise_std, above=-1e-300, hint=", at least 0")
    weights = [gaussian for gaussian, _ in converted(model)]
    if parametrize._cache_enabled:
        raise ArgumentError(
            "predict was called inside torch.nn.utils.parametrize.cached(), where every forward "
            "pass repeats the same draw. Call predict outside"
        )
    _warn_if_at_prior(model)
    first = new_index() if seed is None else torch.tensor(resolve_seed(seed) % 2**63, device="cpu")
    with torch.no_grad():
        if _is_chain(model) and not kwargs and len(args) == 1 and args[0].ndim == 2:
            outputs = _all_at_once(model, weights, args[0], samples, first)
        else:
            outputs = _one_by_one(model, weights, args, kwargs, samples, first)
        return _READERS[likelihood](outputs, noise_std)


def _one_by_one(
    model: nn.Module,
    weights: list[GaussianWeight],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    samples: int,
    first: torch.Tensor,
) -> list[Any]:
    with _noise(weights, "common"):
        found = []
        for k in range(samples):
            with weights[0].draws.fixed((first + k) % (2**63 - 1)):
                found.append(call_user(model, *args, **kwargs))
        return found


def _all_at_once(
    model: nn.Module,
    weights: list[GaussianWeight],
    x: torch.Tensor,
    samples: int,
    first: torch.Tensor,
) -> list[Any]:
    """All samples in one forward, with noise of its own for each row: exact for such chains."""
    with _noise(weights, "local"), generators_kept():
        seed_generators(int(first))
        rows = x.expand(samples, *x.shape).flatten(0, 1)
        return list(call_user(model, rows).unflatten(0, (samples, len(x))))


@contextmanager
def _noise(weights: list[GaussianWeight], kind: Literal["common", "local"]) -> Iterator[None]:
    before = [gaussian.noise for gaussian in weights]
    for gaussian in weights:
        gaussian.noise = kind
    try:
        yield
    finally:
        for gaussian, noise in zip(weights, before, strict=True):
            gaussian.noise = noise


_BY_ROW = (
    *(nn.Identity, nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.SELU),
    *(nn.Softplus, nn.Mish, nn.Hardtanh, nn.Hardswish, nn.LayerNorm, nn.RMSNorm, nn.Softmax),
)


def _is_chain(model: nn.Module) -> bool:
    """Whether every row goes through its own, and all distributions are weights of linear layers."""
    return unwrap(model) is model and _chained(model, set())


def _chained(module: nn.Module, seen: set[int]) -> bool:
    if id(module) in seen:  # two uses of one draw
        return False
    seen.add(id(module))
    if type(module) is nn.Sequential:
        return all(_chained(child, seen) for child in module)
    if (held := module._modules.get("parametrizations")) is None:
        return type(module) in (*_BY_ROW, nn.Linear)
    kind = type(module).__bases__[0]
    only = isinstance(held, nn.ModuleDict) and list(held) == ["weight"]
    return kind is nn.Linear and only and distribution_of(module, "weight") is not None


def _warn_if_at_prior(model: nn.Module) -> None:
    shares = at_prior(model)
    fallen = {name: share for name, share in shares.items() if share > 0.5}
    if len(fallen) * 2 > len(shares):
        named = ", ".join(f"{name!r} ({share:.0%})" for name, share in list(fallen.items())[:3])
        warnings.warn(
            f"most units of {len(fallen)} of {len(shares)} parameters are at their prior, as if "
            f"they had seen no data: {named}. Lower the temperature of the divergence, use "
            "elbo(warmup_steps=...), or give a wider prior",
            IsoinitWarning,
            stacklevel=3,
        )


def _stacked(outputs: list[Any], likelihood: str) -> torch.Tensor:
    tensors = [getattr(o, "logits", o) if likelihood == "logits" else o for o in outputs]
    first = tensors[0]
    if not isinstance(first, torch.Tensor) or not first.is_floating_point():
        kind = first.dtype if isinstance(first, torch.Tensor) else type(first).__name__
        raise ArgumentError(
            f"the model returned {kind}; expected one floating-point tensor for "
            f"likelihood={likelihood!r}. Wrap the model in a module that returns only this tensor"
        )
    wide = torch.promote_types(first.dtype, torch.float32)
    return torch.stack([tensor.to(wide) for tensor in tensors])


def _values(outputs: list[Any], noise_std: float | torch.Tensor) -> Prediction:
    draws = _stacked(outputs, "values")
    epistemic = draws.var(0)
    noise = torch.as_tensor(noise_std, dtype=draws.dtype, device=draws.device)
    aleatoric = noise.square().expand_as(epistemic)
    return Prediction(draws, draws.mean(0), epistemic + aleatoric, epistemic, aleatoric)


def _normal(outputs: list[Any], _: float | torch.Tensor) -> Prediction:
    if not isinstance(outputs[0], tuple) or len(outputs[0]) != 2:
        raise ArgumentError(
            f"the model returned {type(outputs[0]).__name__}; expected a pair (mean, variance) "
            'for likelihood="normal"'
        )
    draws = _stacked([mean for mean, _ in outputs], "normal")
    epistemic = draws.var(0)
    aleatoric = _stacked([variance for _, variance in outputs], "normal").mean(0)
    return Prediction(draws, draws.mean(0), epistemic + aleatoric, epistemic, aleatoric)


def _logits(outputs: list[Any], _: float | torch.Tensor) -> Prediction:
    logits = _stacked(outputs, "logits")
    axis = 2 if logits.ndim > 3 else -1
    logs = logits.log_softmax(axis)
    draws = logs.exp()
    mean = draws.mean(0)
    axis = axis - 1 if axis > 0 else axis
    entropy = torch.special.entr(mean).sum(axis)
    within = torch.special.entr(draws).mean(0).sum(axis)
    # With n in the denominator, so that the parts add up to p(1 - p) exactly.
    epistemic, aleatoric = draws.var(0, correction=0), (draws * (1 - draws)).mean(0)
    information = (entropy - within).clamp_min(0)
    total = epistemic + aleatoric
    return Prediction(draws, mean, total, epistemic, aleatoric, entropy, information)


_READERS = {"values": _values, "normal": _normal, "logits": _logits}
