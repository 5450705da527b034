"""`compare`: which initialization is right for this model?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from isoinit._reading.torch import as_arguments
from isoinit._reading.torch.rng import generators_kept
from isoinit._verifying.comparing.methods import METHODS, resolve_methods
from isoinit._verifying.comparing.side_by_side import Comparison
from isoinit._verifying.comparing.torch.starts import Start
from isoinit._verifying.comparing.torch.training import Data, Task
from isoinit._verifying.comparing.torch.trials import Given, Trial
from isoinit._verifying.comparing.turns import Asked, in_turns, refuse
from isoinit._verifying.losses import GivenLoss, inputs_and_loss


def compare(
    build_model: Callable[[], nn.Module],
    batch: Any,
    methods: Iterable[str] | Mapping[str, str | Start] = METHODS,
    steps: int = 200,
    *,
    loss: GivenLoss | None = None,
    data: Data | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    optimizer: str = "adam",
    lr: float = 1e-3,
    only: str | Sequence[str] | None = None,
    progress: bool = True,
) -> Comparison:
    """Return a comparison of several initializations of one model, with a short training of each.

    For each method it reports the signal at initialization, as `isoinit.check` measures and judges it;
    the loss of a short training with several seeds; the time of a step; and the memory of a step.
    The same arguments give the same numbers, except times, if the model's operations are
    deterministic. Ctrl-C ends the comparison early and keeps the results so far. Random generators are
    restored afterwards.

    Args:
        build_model: a function without arguments that returns a new model at each call, in the mode
            and on the device of the training.
        batch: an example, as for `isoinit.check`. Each step trains on it, unless `data` is given.
        methods: names of methods: "default" (the constructor's values), "plan" (the choice of
            `isoinit.plan`) and the eight methods of `isoinit.plan`. All ten by default. Or a mapping
            from your own names to these, or to functions `start(model, batch, seed)` that initialize
            the model in place or return another one. They get the inputs of the batch. A method that
            cannot initialize the model is listed with its error.
        steps: the training steps of each run.
        loss: as for `isoinit.check`: a function of the model's output, or of the output and the
            targets of a batch `(inputs, targets)`. By default the output's own `loss` is used if it
            has one. Otherwise the model memorizes fixed noise: the loss is the mean square distance
            of its output from normal numbers.
        data: a function from the number of a step, counted from 0, to the batch of that step and its
            loss (None as above): real training data, the same for every method and seed.
        seeds: one training for each seed, which decides initialization and dropout. The first seed
            also decides `health`.
        optimizer: "adam" or "sgd".
        lr: the learning rate of all methods. A method may need another one, so compare at several
            learning rates before you judge.
        only: the parameters that the methods initialize, as for `isoinit.plan`, by patterns. The rest
            of the model keeps the values from `build_model`, such as loaded ones. Your own functions
            must do this themselves.
        progress: whether to show a progress bar on standard error, if that is a terminal or notebook.

    Raises:
        ArgumentError: for an unknown method or optimizer, steps below 1, no seed, a learning rate that
            is not above 0, a batch that is not valid, a `build_model` that returns no module, or a
            loss that is not one number.
        UnknownParameterError: if a pattern of `only` matches nothing.
        TraceError: if the forward pass fails, with the model's own error.
        Interrupted: after SIGINT. Its `done` is the comparison so far, which is not `complete`.

    Example:
        >>> import isoinit, torch
        >>> nn = torch.nn
        >>> def build():
        ...     return nn.Sequential(*[m for _ in range(20) for m in (nn.Linear(32, 32), nn.ReLU())])
        >>> x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
        >>> found = isoinit.compare(build, x, ["default", "plan"], steps=30, seeds=[0])
        >>> found.best, found["default"].health.ok, found["plan"].health.ok
        ('plan', False, True)
    """
    asked = Asked(seeds, steps, optimizer, lr)
    refuse(asked, least=1)
    batch, loss = inputs_and_loss(batch, loss)
    as_arguments(batch)
    given = Given(build_model, Task(batch, loss, data), optimizer, lr, only)
    chosen = resolve_methods(methods, "a model, a batch and a seed")
    trials = [Trial(name, start, given) for name, start in chosen.items()]
    if torch.cuda.is_available():
        torch.cuda.init()  # seeds that the caller left for its first use are then not overwritten
    with generators_kept():
        return in_turns(trials, asked, str(given.task), visible=progress)
