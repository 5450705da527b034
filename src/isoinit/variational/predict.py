"""What a model with learned distributions says, and how sure it is: many forwards, many draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from isoinit.errors import ArgumentError
from isoinit.trace import as_arguments
from isoinit.variational.convert import converted


@dataclass(frozen=True)
class Prediction:
    """The model's output over draws of its weights.

    Attributes:
        mean: the average output, of the output's shape and type.
        std: the standard deviation of an output element over draws (n - 1 in the denominator), in
            units of the output: what the model does not know. The noise of the data is not in it.
    """

    mean: torch.Tensor
    std: torch.Tensor


def predict(model: nn.Module, x: Any, samples: int = 32) -> Prediction:
    """Run a converted model on the same input under `samples` draws of its weights; no gradients.

    Each forward uses one draw of every weight, also of a layer that it uses more than once: the
    output is that of one network of the posterior. A classifier should return probabilities: the
    mean of logits is not the logit of the mean. All outputs are held at once.

    Args:
        model: a model that `convert` has converted; its train or eval mode stays as it is, so call
            `model.eval()` first if it has dropout or batch norm. It must return one tensor.
        x: an input, as for `isoinit.plan`: a tensor for `model(x)`, a tuple for `model(*x)`, or a
            mapping for `model(**x)`.
        samples: how many draws, at least 2. The std of 32 draws is itself right to 13 percent
            (1/sqrt(2·31)), the mean to a sixth of the std; both errors fall as 1/sqrt(samples).

    Raises:
        ArgumentError: for fewer than 2 samples, an input of another kind, a model that is not
            converted or returns something else than a floating-point tensor, or inside
            `parametrize.cached()`, which would make all draws the same.

    Source: Blundell et al. 2015, section 3: the expectation under the posterior, by Monte Carlo.

    Example:
        >>> import torch
        >>> from isoinit import variational
        >>> model = variational.convert(torch.nn.Linear(4, 2))
        >>> prediction = variational.predict(model, torch.ones(3, 4))
        >>> prediction.mean.shape, bool((prediction.std > 0).all())
        (torch.Size([3, 2]), True)
    """
    args, kwargs = as_arguments(x)
    if not isinstance(samples, int) or samples < 2:
        raise ArgumentError(
            f"predict(samples={samples!r}): expected a whole number of at least 2, since one draw "
            "has no spread"
        )
    with torch.no_grad():
        _refuse_cached(model)
        outputs = torch.stack([_sample(model, args, kwargs) for _ in range(samples)])
    return Prediction(outputs.mean(0), outputs.std(0))


def _sample(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    with parametrize.cached():
        output = model(*args, **kwargs)
    if not isinstance(output, torch.Tensor) or not output.is_floating_point():
        kind = output.dtype if isinstance(output, torch.Tensor) else type(output).__name__
        raise ArgumentError(
            f"the model returned {kind}; expected one floating-point tensor: wrap the model in a "
            "module that returns the part to average"
        )
    return output


def _refuse_cached(model: nn.Module) -> None:
    """Under the caller's cache one draw serves all forwards: a spread of exactly zero."""
    layer = converted(model)[0]
    if layer.weight is layer.weight:
        raise ArgumentError(
            "predict was called inside torch.nn.utils.parametrize.cached(), where every forward "
            "repeats the same draw; call it outside"
        )
