"""What a contestant starts: a model, what it learns, and how its kind is published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Step = tuple[Any, Callable[[Any], torch.Tensor] | None]
"""A batch, and the loss of the model's output; None where the output holds its own loss."""


@dataclass(frozen=True)
class Task:
    """A model and what it learns.

    Attributes:
        build: a new model, as its constructor leaves it; random numbers come from torch's generator.
        data: the training batch of a step, counted from 0, and its loss. The same numbers for the same
            step, whatever was drawn before.
        held_out: one batch that is never trained on, and its loss.
        recipe: fills a new model in place as its kind is published, drawing from torch's generator.
            None where that is what the constructor does.
        source: where that recipe is published, with its numbers: one line.
        floor: what is taken from a loss before its logarithm, where a loss may be negative or has a
            known least value, such as the entropy of the data; 0 for any other.
    """

    build: Callable[[], nn.Module]
    data: Callable[[int], Step]
    held_out: Callable[[], Step]
    recipe: Callable[[nn.Module], None] | None
    source: str
    floor: float = 0.0
