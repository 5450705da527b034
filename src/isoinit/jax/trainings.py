"""A short training of a JAX model by optax, watched: the loss at each step, its time, its memory."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import Literal

from isoinit._verifying.comparing.turns import Steps
from isoinit.jax.models import Model
from isoinit.jax.passes import Loss, with_other_keys
from isoinit.jax.shardings import by_compiler
from isoinit.jax.spelling import is_inexact, named_leaves

OPTIMIZERS = {"adam": optax.adam, "sgd": optax.sgd}
Arrays = Mapping[str, Any]


class Trainer:
    """Trains one model from any start; a step is compiled once.

    Args:
        model: the model.
        loss: of its output.
        optimizer: "adam" or "sgd".
        lr: the learning rate.
    """

    def __init__(self, model: Model, loss: Loss, optimizer: str, lr: float) -> None:
        self._model, self._loss = model, loss
        self._optimizer = OPTIMIZERS[optimizer](lr)
        leaves = jax.tree_util.tree_leaves((model.state, model.inputs))
        self._rest = list(map(by_compiler, leaves))
        self._compiled = jax.jit(self._step)
        self._kept: int | None = None

    def begun(self, params: Any, seed: int, steps: Steps) -> Training:
        """Return a training that starts from some parameters.

        Args:
            params: a tree like that of the model. It is not changed.
            seed: of the model's random numbers, such as those of dropout.
            steps: where the steps are noted.
        """
        arrays = {name: by_compiler(leaf) for name, leaf in named_leaves(params).items()}
        trained = {name: array for name, array in arrays.items() if is_inexact(array)}
        fixed = {name: array for name, array in arrays.items() if name not in trained}
        return Training(self, trained, fixed, self._optimizer.init(trained), seed, steps)

    def step(self, trained: Arrays, state: Any, fixed: Arrays, seed: int, number: int) -> Any:
        """Return the loss, and the parameters and the optimizer's state after a step."""
        keys = np.array([seed % 2**32, number], np.uint32)
        return jax.block_until_ready(self._compiled(trained, state, fixed, self._rest, keys))

    def kept(self, trained: Arrays, state: Any, fixed: Arrays) -> int:
        """Return the bytes that a step keeps: see `isoinit.Compared`.

        What the forward leaves for the backward pass is counted as JAX's derivative names it, each
        array once. The compiler may keep less: it can work some out again. The bytes follow from
        shapes alone, so they are the same for every start.
        """
        if self._kept is not None:
            return self._kept

        def left(trained: Any, fixed: Any, rest: Any) -> Any:
            return jax.tree_util.tree_leaves(jax.vjp(self._of(fixed, rest), trained)[1])

        jaxpr = jax.make_jaxpr(left)(trained, fixed, self._rest).jaxpr
        count = len(jaxpr.invars) - len(jax.tree_util.tree_leaves(self._model.inputs))
        held = set(jaxpr.invars[:count])
        saved = {v for v in jaxpr.outvars if not isinstance(v, Literal)} - held
        self._kept = (
            _bytes(variable.aval for variable in (*held, *saved))
            + _bytes(trained.values())  # as many for the gradients
            + _bytes(jax.tree_util.tree_leaves(state))
        )
        return self._kept

    def _of(self, fixed: Arrays, rest: Any) -> Any:
        """Return the loss as a function of the parameters that are trained."""

        def value(trained: Arrays) -> Any:
            output = self._model.called({**fixed, **trained}, rest)
            return jnp.asarray(self._loss(output)).reshape(())

        return value

    def _step(self, trained: Arrays, state: Any, fixed: Arrays, rest: Any, keys: Any) -> Any:
        rest = with_other_keys(with_other_keys(rest, keys[0]), keys[1])
        loss, gradients = jax.value_and_grad(self._of(fixed, rest))(trained)
        # JAX gives the conjugate of the direction in which a real loss grows.
        gradients = jax.tree_util.tree_map(jnp.conj, gradients)
        updates, state = self._optimizer.update(gradients, state, trained)
        return loss, optax.apply_updates(trained, updates), state


class Training:
    """Takes steps, and notes them."""

    def __init__(
        self, trainer: Trainer, trained: Arrays, fixed: Arrays, state: Any, seed: int, steps: Steps
    ) -> None:
        self.steps = steps
        self._trainer, self._trained, self._fixed, self._state = trainer, trained, fixed, state
        self._seed = seed

    def step(self) -> None:
        """Take one step of training."""
        number = len(self.steps.losses)
        given = (self._trained, self._state, self._fixed, self._seed, number)
        if not number:
            self._trainer.step(*given)  # compiles, which is no part of the time of a step
        start = time.perf_counter()
        loss, self._trained, self._state = self._trainer.step(*given)
        self.steps.seconds.append(time.perf_counter() - start)
        self.steps.losses.append(float(loss))

    def measured_step(self) -> int:
        """Take one step of training; return the bytes that it keeps."""
        kept = self._trainer.kept(self._trained, self._state, self._fixed)
        self.step()
        return kept


def _bytes(arrays: Iterable[Any]) -> int:
    return sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)
