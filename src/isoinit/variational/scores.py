"""Whether predicted probabilities are right: how often, how surely, and whether they say so."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from isoinit.errors import ArgumentError


@dataclass(frozen=True)
class Scores:
    """How good probabilities are.

    Attributes:
        accuracy: the share of examples whose likeliest class is right.
        nll: the mean negative log-likelihood, in nats.
        brier: the mean squared distance from the right answer, from 0 to 2 (Brier 1950).
        ece: the expected calibration error: how far the probability of the likeliest class is from how
            often it is right, over bins of equal width (Guo et al. 2017, eq. 5).
    """

    accuracy: float
    nll: float
    brier: float
    ece: float


def score(probabilities: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> Scores:
    """Score predicted probabilities against the right classes.

    Args:
        probabilities: (examples, classes), such as `predict(...).mean`.
        labels: (examples,) integers.
        bins: of the calibration error.

    Raises:
        ArgumentError: if the shapes do not fit, or rows are no probabilities.
        ImportError: without torchmetrics, which computes the calibration error.

    Example:
        >>> import torch
        >>> from isoinit import variational
        >>> sure, unsure = [1.0, 0.0], [0.5, 0.5]
        >>> scores = variational.score(torch.tensor([sure, unsure]), torch.tensor([0, 1]))
        >>> scores.accuracy, scores.brier
        (0.5, 0.25)
    """
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ArgumentError(
            f"score got probabilities of shape {tuple(probabilities.shape)} and labels of shape "
            f"{tuple(labels.shape)}; expected (examples, classes) and (examples,)"
        )
    sums = probabilities.sum(1)
    if not bool(((sums - 1).abs() < 1e-2).all() and (probabilities >= 0).all()):
        raise ArgumentError(
            "score got probabilities that are negative, or a row that does not sum to 1. Pass "
            'predict(..., likelihood="logits").mean or the output of a softmax'
        )
    from torchmetrics.functional.classification import multiclass_calibration_error

    classes = probabilities.shape[1]
    right = probabilities.gather(1, labels[:, None])[:, 0]
    squares = probabilities.square().sum(1) - 2 * right + 1
    return Scores(
        (probabilities.argmax(1) == labels).float().mean().item(),
        -right.clamp_min(torch.finfo(right.dtype).tiny).log().mean().item(),
        squares.mean().item(),
        multiclass_calibration_error(probabilities, labels, classes, n_bins=bins).item(),
    )
