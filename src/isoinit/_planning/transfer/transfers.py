"""A transfer: a plan whose entries know how learning rates follow from a smaller model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isoinit._planning.plan import Plan
from isoinit._planning.transfer.table import table
from isoinit._showing.terminal import Printed, Tabled
from isoinit._system.packages import needs
from isoinit._writing.factors import Factors
from isoinit.errors import PlanError

if TYPE_CHECKING:
    import optax
    import torch
    from torch import nn


@dataclass(frozen=True, repr=False)
class Transfer(Tabled):
    """The initial scales and the optimizer groups of a model, from the settings of a smaller one.

    `groups`, `verify` and `clip_grad_norm_` are for torch; `optimizer` and `clip_by_global_norm` are
    for JAX.

    Attributes:
        plan: an ordinary plan, whose entries have `factors`. Edit, save, shard or checkpoint it.

    Raises:
        PlanError: if the plan is none that a `transfer` made.
    """

    plan: Plan

    def __post_init__(self) -> None:
        if self.plan.transfer is None:
            raise PlanError("the plan has no factors; expected a plan from isoinit.transfer")

    @property
    def factors(self) -> dict[str, Factors]:
        """The factors of every parameter, by name."""
        return {entry.name: entry.factors for entry in self.plan if entry.factors is not None}

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings, and changes that only the forward pass could make, in sentences."""
        assert self.plan.transfer is not None
        return self.plan.transfer.notes

    def show(self, *, verbose: bool = False) -> Printed:
        """Return the factors as a table: one row for each kind of parameter, and the reasons below.

        Args:
            verbose: whether to show one row for every parameter.
        """
        assert self.plan.transfer is not None
        return table(self.plan.entries, self.plan.transfer, verbose=verbose)

    def groups(
        self,
        model: nn.Module,
        lr: float | torch.Tensor,
        weight_decay: float = 0.0,
        eps: float = 1e-8,
        *,
        optimizer: str | None = None,
        decay_vectors: bool = False,
    ) -> list[dict[str, Any]]:
        """Return parameter groups for the optimizer: each has one learning rate, decay and ε.

        Create them last: after the model is on its device and wrapped (DDP, `torch.compile`,
        `fully_shard`, `FullyShardedDataParallel(use_orig_params=True)`), and the plan is applied.
        Frozen parameters are left out. A stage of a pipeline gets groups of its own parameters.

        Args:
            model: a model with the plan's parameters, or some of them.
            lr: the base model's learning rate: a number, or a tensor for `capturable`.
            weight_decay: the base model's weight decay.
            eps: the base model's ε of Adam, or of Muon (1e-7 is its default). SGD has none.
            optimizer: for a transfer with Muon, the optimizer of the groups: "muon" or "adamw". Other
                transfers have one optimizer.
            decay_vectors: whether weight decay also acts on biases and the gains of norms.

        Returns:
            Dictionaries with "params", "name", "lr", "weight_decay", "eps" (not for SGD) and, for
            Muon, "adjust_lr_fn". The names describe the parameters, and are equal on all ranks and
            in all runs.

        Raises:
            ArgumentError: if a number is not finite or out of range, no parameter is trained, or
                `optimizer` does not belong to the transfer.
            PlanError: if names or shapes differ from the plan's, a trained parameter is not in the
                plan, or one is on the meta device or in a flat parameter.

        Example:
            >>> import isoinit, torch
            >>> nn = torch.nn
            >>> def build(width):
            ...     return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 2))
            >>> t = isoinit.transfer(build, base=64, target=256, batch=torch.zeros(1, 8))
            >>> model = t.plan.apply(build(256), seed=0)
            >>> for group in t.groups(model, lr=0.01, weight_decay=0.1):
            ...     print(group["name"], len(group["params"]), group["lr"], group["weight_decay"])
            input weight 1 0.01 0.1
            bias eps ×0.25 1 0.01 0.0
            readout 1 0.0025 0.4
            bias eps ×1 1 0.01 0.0
        """
        with needs("torch", "Transfer.groups"):
            from isoinit._planning.transfer.optimizers.groups import groups

        return groups(
            self.plan,
            model,
            lr,
            weight_decay,
            eps,
            optimizer=optimizer,
            decay_vectors=decay_vectors,
        )

    def optimizer(
        self,
        learning_rate: Any,
        weight_decay: Any = 0.0,
        eps: Any = 1e-8,
        *,
        decay_vectors: bool = False,
        **settings: Any,
    ) -> optax.GradientTransformationExtraArgs:
        """Return the optax optimizer of a JAX model, with all groups of parameters.

        It is an `optax.multi_transform`, and finds parameters by their names in its tree:
        `nnx.Optimizer(model, tx, wrt=nnx.Param)`, Linen's `variables["params"]`,
        `eqx.filter(model, eqx.is_inexact_array)`, Haiku's params, or any pytree. The tree may have
        only some of the plan's parameters. Frozen parameters, integers and keys get updates of zero.
        The ratios of the groups are fixed, so a schedule keeps them.

        Args:
            learning_rate: the base model's learning rate: a number, an array, or a schedule of optax.
            weight_decay: the base model's weight decay, also as a schedule. As in torch it is
                multiplied by the learning rate, and in Adam and SGD it is added to the gradient.
            eps: the base model's ε of Adam, outside the root, or of Muon. SGD has none.
            decay_vectors: whether weight decay also acts on biases and the gains of norms.
            settings: further options of the optimizer, with optax's names and defaults. For AdamW and
                Adam `b1`, `b2`, `eps_root`, `mu_dtype`, `nesterov`; for SGD `momentum`, `nesterov`,
                `accumulator_dtype`; for Muon those of `optax.contrib.muon` for its steps, and
                `adam_learning_rate`, `adam_weight_decay` and the like for the rest.

        Raises:
            ArgumentError: if a number is not finite or out of its range, or a setting is not known.
            PlanError: from its `init` and `update`, if names or shapes are not the plan's.

        Example:
            >>> import isoinit.jax as ij, jax, jax.numpy as jnp
            >>> def build(n):
            ...     return apply, {"in": jnp.zeros((8, n)), "out": jnp.zeros((n, 2))}
            >>> def apply(params, x):
            ...     return jax.nn.relu(x @ params["in"]) @ params["out"]
            >>> t = ij.transfer(build, jnp.zeros((1, 8)), base=64, target=256)
            >>> params = t.plan.fill(build(256)[1], seed=0)
            >>> tx = t.optimizer(0.01, weight_decay=0.1)
            >>> ones = jax.tree.map(jnp.ones_like, params)
            >>> updates, _ = tx.update(ones, tx.init(params), jax.tree.map(jnp.zeros_like, params))
            >>> print({name: f"{array[0, 0]:.4f}" for name, array in updates.items()})
            {'in': '-0.0100', 'out': '-0.0025'}
        """
        with needs("optax", "Transfer.optimizer"):
            from isoinit.jax.optimizers import optimizer

        return optimizer(
            self.plan,
            learning_rate,
            weight_decay,
            eps,
            decay_vectors=decay_vectors,
            settings=settings,
        )

    def clip_by_global_norm(self, max_norm: Any) -> optax.GradientTransformation:
        """Return what clips gradients as `optax.clip_by_global_norm` does, without the gauge.

        The norm is that of `clip_grad_norm_`: √Σ(θ‖g‖)², with the gauge θ of each parameter. Chain it
        before the optimizer.

        Args:
            max_norm: what the norm is at most afterwards.

        Raises:
            ArgumentError: if `max_norm` is below 0 or not finite.
            PlanError: from its `update`, if names or shapes are not the plan's.

        Example:
            >>> import isoinit.jax as ij, jax.numpy as jnp, optax
            >>> params = {"w": jnp.zeros((4, 2))}
            >>> t = ij.transfer(lambda p, x: x @ p["w"], params, jnp.zeros((1, 4)), unit=4)
            >>> tx = optax.chain(t.clip_by_global_norm(1.0), t.optimizer(0.01))
            >>> state = tx.init(params)
        """
        with needs("optax", "Transfer.clip_by_global_norm"):
            from isoinit.jax.optimizers import clip_by_global_norm

        return clip_by_global_norm(self.plan, max_norm)

    def verify(self, optimizer: torch.optim.Optimizer) -> None:
        """Raise unless an optimizer's groups still have the ratios that are planned.

        Call it once a scheduler is made, after a checkpoint is loaded, and at any step. Learning
        rates, decays and ε may each be any multiple of the planned, one for all groups: schedules by
        a factor, such as a warmup or `LambdaLR`, keep them.

        A group that is missing is no fault, since parameters may be frozen or on another rank.

        Args:
            optimizer: one that was made of `groups`, wrapped by Accelerate or Lightning or not.

        Raises:
            PlanError: if ratios differ, saying what set them where that can be seen; if groups were
                added or are another model's; or if the optimizer is of another kind.
            ArgumentError: if it has no groups.

        Example:
            >>> import isoinit, torch
            >>> nn = torch.nn
            >>> def build(width):
            ...     return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 2))
            >>> t = isoinit.transfer(build, base=64, target=256, batch=torch.zeros(1, 8))
            >>> optimizer = torch.optim.AdamW(t.groups(build(256), lr=0.01))
            >>> schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=100)
            >>> t.verify(optimizer)
            Traceback (most recent call last):
                ...
            isoinit.errors.PlanError: all 4 groups have the same lr, 0.0004, ...
        """
        with needs("torch", "Transfer.verify"):
            from isoinit._planning.transfer.optimizers.verify import verify

        verify(self.plan, optimizer)

    def clip_grad_norm_(
        self,
        model: nn.Module,
        max_norm: float,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
        foreach: bool | None = None,
    ) -> torch.Tensor:
        """Clip gradients as `torch.nn.utils.clip_grad_norm_` does, by their norm without the gauge.

        A parameter with the gauge θ is stored θ times larger than in a model whose forward has the
        multipliers of the papers. Its gradient is θ times smaller. The norm here is √Σ(θ‖g‖)², which
        is that model's: clipped so, both train alike.

        It is the norm over all ranks that share the parameters (DTensor, FSDP), and of this rank's
        own stage in a pipeline.

        Args:
            model: the model, and not its parameters: which gauge is whose follows from their names.
            max_norm: what the norm is at most afterwards; infinity changes nothing.
            norm_type: the p of the norm.
            error_if_nonfinite: whether to raise for a norm that is not finite.
            foreach: as torch's.

        Returns:
            The norm.

        Raises:
            ArgumentError: if `model` is no model, or `max_norm` is below 0.
            PlanError: as `groups` does.
            RuntimeError: if the norm is not finite and `error_if_nonfinite` is set.
        """
        with needs("torch", "Transfer.clip_grad_norm_"):
            from isoinit._planning.transfer.optimizers.clipping import clip_grad_norm_

        return clip_grad_norm_(self.plan, model, max_norm, norm_type, error_if_nonfinite, foreach)
