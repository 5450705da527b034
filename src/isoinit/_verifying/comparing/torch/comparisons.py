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
    """Start one model under several initializations, side by side, and train it for a while.

    Of each method: the signal at the start as `isoinit.check` measures and judges it, the loss over
    a short training under several seeds, the time of a step, and the memory that a step keeps.
    The same arguments give the same numbers (but times), as far as the model's own operations do.
    Ctrl-C ends it early and keeps what is done. Random number generators are as before afterwards.

    Args:
        build_model: takes nothing and returns a new model at each call, in the mode and on the device
            to train it.
        batch: an example, as for `isoinit.check`; each step trains on it, where `data` gives no other.
        methods: names of "default" (what the constructor gives), "plan" (what `isoinit.plan` chooses)
            and the eight methods of `isoinit.plan`; or a mapping from names of your own to these, or
            to functions `start(model, batch, seed)` that initialize the model in place, or return
            another; they get what the model takes of the batch. All ten by default. A method that
            cannot initialize the model is listed with its error.
        steps: of each training.
        loss: as for `isoinit.check`: of the model's output, or of the output and the targets of a
            batch `(inputs, targets)`. Without one, the output's own `loss` is used if it has one;
            else the model memorizes fixed noise: the mean square distance of its output from normal
            numbers.
        data: a function from a step's number, counted from 0, to the batch of that step and its loss
            (None as above): real training data, the same for every method and seed.
        seeds: one training each, of initialization and dropout; the first also decides `health`.
        optimizer: "adam" or "sgd".
        lr: the learning rate, one for all. A method that needs another one loses by it: compare at
            several before you judge.
        only: what the methods initialize, as for `isoinit.plan`, by patterns; the rest of the model
            keeps the values that `build_model` gives it, such as loaded ones. Functions of your own
            see to it themselves.
        progress: whether to show a bar on standard error, where that is a terminal or a notebook.

    Raises:
        ArgumentError: for an unknown method or optimizer, steps below 1, no seed, a learning rate that
            is not above 0, a batch of another kind, a `build_model` that returns no module, or a
            loss that is not one number.
        UnknownParameterError: if a pattern of `only` matches nothing.
        TraceError: if the forward fails, with the model's own error.
        Interrupted: if SIGINT came; its `done` is the comparison so far, which is not `complete`.

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
