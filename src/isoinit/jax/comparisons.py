"""`compare`: which initialization is right for this JAX model?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from isoinit._planning.plan import Plan
from isoinit._system.alone import alone
from isoinit._system.packages import needs
from isoinit._verifying.comparing import METHODS, Comparison, turns
from isoinit._verifying.comparing.methods import resolve_methods
from isoinit._verifying.comparing.turns import Asked, Steps, in_turns, refuse
from isoinit.errors import TraceError
from isoinit.jax.checks import Checking, inputs_and_loss, refuse_valueless
from isoinit.jax.models import abstract, model_of
from isoinit.jax.objectives import objective
from isoinit.jax.shardings import own
from isoinit.jax.spelling import named_leaves, with_leaves
from isoinit.jax.verbs import planned, read_of

Start = Callable[[Any, int], Any]
"""Initializes what holds the parameters, given a seed: in place, or by returning another."""


def compare(
    model: Any,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    loss: Any = None,
    methods: Iterable[str] | Mapping[str, str | Start] = METHODS,
    steps: int = 0,
    seeds: Sequence[int] = (0, 1, 2),
    optimizer: str = "adam",
    lr: float = 1e-3,
    progress: bool = True,
) -> Comparison:
    """Return a comparison of several initializations of a JAX model, with optional training.

    For each method it reports the signal at initialization, as `isoinit.jax.check` measures and judges
    it. With `steps` it also reports the loss of a short training with several seeds, and the time and
    memory of a step. The model is compiled once for all methods. It is not changed: each method fills
    its own parameters, and updates of the state are dropped. The same arguments give the same numbers,
    except times, if the model's operations are deterministic. Ctrl-C ends the comparison early and
    keeps the results so far.

    Args:
        model: as for `isoinit.jax.plan`.
        inputs: real examples, as for `isoinit.jax.check`. Each step trains on them.
        kwargs: as for `isoinit.jax.plan`.
        loss: as for `isoinit.jax.check`: a function of the model's output, or of the output and the
            targets of a pair `(inputs, targets)`. By default the output's own `loss` is used if it
            has one. Otherwise the model memorizes fixed noise: the loss is the mean square distance
            of its output from normal numbers.
        methods: names of methods: "default" (the model's values), "plan" (the choice of
            `isoinit.jax.plan`) and the eight methods of `isoinit.plan`. All ten by default. Or a
            mapping from your own names to these, or to functions `start(held, seed)`. They get a copy
            of the tree, the variables or the module, and change it in place or return another one.
            Only its parameters are used, and the state stays the model's. A method that cannot
            initialize the model is listed with its error.
        steps: the training steps of each run, by optax. By default there are none, and only the
            signal is compared.
        seeds: one training for each seed, which decides initialization and dropout. The first seed
            also decides `health`. The method "default" has the same values with every seed.
        optimizer: "adam" or "sgd".
        lr: the learning rate of all methods. A method may need another one, so compare at several
            learning rates before you judge.
        progress: whether to show a progress bar on standard error, if that is a terminal or notebook.

    Returns:
        The comparison, as from `isoinit.compare`. Without steps it has no `best`.

    Raises:
        ArgumentError: for an unknown method or optimizer, steps below 0, no seed, a learning rate that
            is not above 0, and as `isoinit.jax.check` does for the model, the inputs and the loss.
        PlanError: for a state without values in this process.
        TraceError: if the model or the loss fails, with its own error.
        PackageError: for steps without optax.
        Interrupted: after SIGINT. Its `done` is the comparison so far, which is not `complete`.

    Example:
        >>> import isoinit.jax as ij, jax, jax.numpy as jnp
        >>> params = {f"w{i:02}": jnp.zeros((32, 32)) for i in range(20)}
        >>> x = jax.random.normal(jax.random.key(0), (64, 32))
        >>> def apply(params, x):
        ...     for w in params.values():
        ...         x = jax.nn.relu(x @ w)
        ...     return x
        >>> found = ij.compare(apply, params, x, methods=["plan", "lecun"])
        >>> found["plan"].health.ok, found["lecun"].health.ok
        (True, False)
    """
    asked = Asked(seeds, steps, optimizer, lr)
    refuse(asked, least=0)
    if not steps:
        asked = replace(asked, seeds=seeds[:1])
    chosen = resolve_methods(methods, "what holds the parameters, and a seed")
    inputs, alone_loss = inputs_and_loss(inputs, loss)
    given = Given(model, inputs, kwargs, objective(alone_loss), asked)
    trials = [Trial(name, start, given) for name, start in chosen.items()]
    task = "one batch" if alone_loss is not None else "one batch, its own loss or fixed noise"
    return in_turns(trials, asked, task, visible=progress)


class Given:
    """What all methods share: the model, what was read of it, and how it is measured and trained.

    Args:
        model, inputs, kwargs: as for `compare`; of a pair the inputs alone.
        loss: of the model's output.
        asked: of each method.
    """

    def __init__(
        self,
        model: Any,
        inputs: tuple[Any, ...],
        kwargs: Mapping[str, Any] | None,
        loss: Callable[[Any], Any],
        asked: Asked,
    ) -> None:
        self._passed, self._kwargs = (model, *inputs), kwargs
        self.model = model_of(model, *inputs, kwargs=kwargs)
        with alone():
            refuse_valueless(self.model, {})
            self.read = read_of(self.model)
            self.checking = Checking(self.model, self.read, loss)
        self.asked = asked
        self.trainer = None
        if asked.steps:
            with needs("optax", "isoinit.jax.compare with steps"):
                from isoinit.jax.trainings import Trainer
            self.trainer = Trainer(self.model, loss, asked.optimizer, asked.lr)

    def start(self, method: str | Start, seed: int) -> tuple[Any, Plan | None]:
        """Return parameters as a method initializes them, and the plan behind them if there is one.

        Raises:
            PlanError: if some hold no values then, or do not fit the model.
        """
        model = self.model
        if callable(method):
            params, chosen = self._started(method, seed), None
        elif method == "default":
            params, chosen = model.params, None
        else:
            name = "auto" if method == "plan" else method
            with alone():
                chosen = planned(model, name, read=self.read)[0]
                params = chosen.fill(model.params, seed)
        refuse_valueless(model, params)
        return params, chosen

    def _started(self, start: Start, seed: int) -> Any:
        """Return parameters as a function of the user's own gives them, where the model's own are."""
        model = self.model
        held = model.replaced(jax.tree_util.tree_map(_copied, model.params))
        made = start(held, seed)
        made = held if made is None else made
        place = 0 if model.form.holds else 1
        passed = (*self._passed[:place], made, *self._passed[place + 1 :])
        params = model_of(*passed, kwargs=self._kwargs).params
        model.require_fit(params)
        leaves, before = named_leaves(params), named_leaves(model.params)
        return with_leaves(model.params, {n: _placed(leaves[n], before[n]) for n in before})


class Trial(turns.Trial):
    """One method."""

    def __init__(self, name: str, method: str | Start, given: Given) -> None:
        super().__init__(name)
        self.method, self.given, self.model = method, given, given.model.name

    def begun(self, seed: int) -> turns.Training | None:
        """Return the training of a model that the method has initialized; None if there is none."""
        begin = time.perf_counter()
        try:
            params, plan = self.given.start(self.method, seed)
        except TraceError:  # the model does not run under any method
            raise
        except Exception as error:  # of any kind: the method's, which is listed with it
            self.error = f"{type(error).__name__}: {error}"
            return None
        seconds = time.perf_counter() - begin
        if self.health is None:
            self.fill_seconds = seconds
            with alone():
                self.health = self.given.checking.health(params, plan)
        if self.given.trainer is None:
            return None
        self.steps[seed] = Steps()
        return self.given.trainer.begun(params, seed, self.steps[seed])


def _copied(leaf: Any) -> Any:
    """Return an array that may be written into: those of JAX cannot be."""
    return np.array(leaf) if isinstance(leaf, np.ndarray) else leaf


def _placed(leaf: Any, before: Any) -> Any:
    """Return an array of the type of another, and where that is."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    return jax.device_put(jnp.asarray(leaf, abstract(before).dtype), own(before))
