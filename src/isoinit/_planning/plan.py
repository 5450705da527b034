"""A plan: one entry for each parameter, as plain data to read, edit, save and apply."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from isoinit._planning import saved
from isoinit._planning.differences import Differences, compare
from isoinit._planning.overrides import overridden
from isoinit._planning.printing import Readable
from isoinit._reading.outline import Outline
from isoinit._system.files import read_text, whole
from isoinit._system.packages import needs
from isoinit._writing.entry import Entry
from isoinit._writing.factors import Setting
from isoinit.errors import ArgumentError, PlanError
from isoinit.initializers import Initializer

if TYPE_CHECKING:
    from torch import nn

    from isoinit._planning.asked import Only
    from isoinit._writing.fingerprint import Fingerprint
    from isoinit._writing.stored import Given

T = TypeVar("T")


@dataclass(repr=False)
class Plan(Readable):
    """The initializer of every parameter of a model, as plain data.

    Iterate over a plan for its entries, in the order of the model. Read one with `plan[name]`, several
    with `plan[glob]`. Override one or several with `plan[name or glob] = initializer`. Print the plan
    for a table.

    Attributes:
        entries: what each parameter gets, by name.
        aliases: for each further name of a tied parameter, the name of its entry.
        method: the method or recipe that the plan was made with.
        how: how the model was read: "fake", "real" or "structure"; "jaxpr" of a model of JAX.
        notes: warnings about the plan as a whole.
        emptied: the buffers that were on the meta device when the plan was made. They belong to
            the modules of that model, so they are neither saved nor compared.
        seed: the seed with which `apply` last filled a model; None before that. It is saved, not
            compared.
        transfer: the settings of the factors in its entries, if `isoinit.transfer` made the plan.
            `isoinit.Transfer(plan)` turns them into parameter groups for the optimizer. None in any
            other plan.
        outline: the model's class and the order of its layers, which the page draws. None in a plan
            that was loaded. It is neither saved nor compared.

    Example:
        >>> import isoinit, torch
        >>> plan = isoinit.plan(torch.nn.Linear(4, 2), torch.zeros(1, 4))
        >>> plan["bias"].initializer
        Zeros()
        >>> plan["weight"] = isoinit.Orthogonal()
        >>> plan["weight"].std
        0.5
    """

    entries: dict[str, Entry]
    aliases: dict[str, str] = field(default_factory=dict)
    method: str = "auto"
    how: str = "fake"
    notes: tuple[str, ...] = ()
    emptied: Mapping[Any, set[str]] = field(default_factory=dict, repr=False, compare=False)
    seed: int | None = field(default=None, repr=False, compare=False)
    transfer: Setting | None = None
    outline: Outline | None = field(default=None, repr=False, compare=False)

    def __setitem__(self, pattern: str, initializer: Initializer) -> None:
        self.override({pattern: initializer})

    def override(self, overrides: Mapping[str, Initializer]) -> None:
        """Give parameters other initializers. If one does not fit, change nothing.

        Args:
            overrides: initializers by pattern: the name of a parameter; a glob of names, with `*`,
                `?` and `[...]`, where `*` matches dots too; or `role:` and a role, or a glob of
                roles. A name decides over globs and roles; order does not matter.

        Raises:
            UnknownParameterError: for a pattern that matches nothing.
            ArgumentError: if an initializer does not fit a parameter, two patterns give one
                parameter different initializers, or a key or value has the wrong type.

        Example:
            >>> import isoinit, torch
            >>> plan = isoinit.plan(torch.nn.Linear(4, 2), torch.zeros(1, 4))
            >>> plan.override({"role:weight*": isoinit.Normal(std=0.02), "bias": isoinit.Ones()})
            >>> plan["weight"].std, plan["bias"].initializer
            (0.02, Ones())
        """
        self.entries.update(overridden(self.entries, self.aliases, overrides))

    @property
    def warnings(self) -> list[str]:
        """The warnings about the plan, one sentence each; empty if there are none."""
        more = () if self.transfer is None else self.transfer.notes
        return [*self.notes, *more, *(entry.warning for entry in self if entry.warning)]

    @property
    def kept(self) -> dict[str, str]:
        """The parameters that keep their values, by name, each with the reason."""
        return {entry.name: entry.reason for entry in self if entry.kept}

    def apply(
        self,
        model: nn.Module,
        seed: int | None = None,
        *,
        only: Only | None = None,
        only_missing: Given | None = None,
        buffers: bool | Callable[[], nn.Module] = True,
    ) -> nn.Module:
        """Fill every parameter of a model. One seed gives the same bits on any sharding.

        The model may be whole or one rank's shard: DTensors of any placement (`fully_shard`, tensor
        and expert parallel, replicas, on any mesh), `FullyShardedDataParallel`, or a pipeline stage
        with some of the plan's parameters. Each rank draws its own shard, and no weights are sent.
        Ranks that share a model first compare plan and seed, so all of them must call `apply`.
        Without a seed they use the first rank's draw. For a model that is not sharded yet, and
        between pipeline stages, nothing is compared: give their ranks one seed.

        Tensors on the meta device get memory on the device type of their mesh, or on torch's default
        device. Buffers without values get those of the model's own initialization.

        The whole plan is checked against the model before the first write. A parameter without an
        initializer keeps its values. If it was built under `isoinit.deferred`, it gets the values of
        its constructor, drawn from torch's generators with the seed and its name.

        Args:
            model: a model with the plan's parameters or some of them, wrapped or not, on any device.
            seed: any integer. None draws a new one from torch's default generator at every call, so
                `torch.manual_seed` makes it repeatable. `plan.seed` holds it afterwards.
            only: the parameters to fill, as for `isoinit.plan`. The others are not changed.
            only_missing: the contents of a checkpoint, as for `isoinit.plan`. They are not changed:
                `load_state_dict` fills them, before or after. With `only` and `only_missing`,
                the other tensors on the meta device stay there.
            buffers: the source of values for buffers without values. True is the model's own
                initialization. A function that builds the model again is for a model whose
                constructor alone computes its buffers. False leaves them as they are.

        Returns:
            The model, filled in place.

        Raises:
            PlanError: if names, shapes or dtypes differ, a parameter cannot hold initial values, a
                buffer has no values and none can be found, or `only_missing` does not fit.
            UnknownParameterError: if a pattern of `only` matches nothing.
            RankError: if another rank has another plan or seed, or failed.

        After each of these errors the model is unchanged.

        Example:
            >>> import isoinit, torch
            >>> with torch.device("meta"):
            ...     model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(2))
            >>> plan = isoinit.plan(model, torch.zeros(3, 4))
            >>> _ = plan.apply(model, seed=0)
            >>> model[1].weight.device, model[1].running_var
            (device(type='cpu'), tensor([1., 1.]))
        """
        with needs("torch", "Plan.apply"):
            from isoinit._planning.asked import asked_for
            from isoinit._writing.apply import apply

        def asked() -> Collection[str]:
            assert only is not None
            roles = {entry.name: entry.role for entry in self}
            return asked_for(only, model, roles, self.aliases)

        wanted = None if only is None else asked
        self.seed = apply(self, model, seed, only_missing, buffers, wanted)
        return model

    def fill(self, params: T, seed: int | None = 0, *, sharding: Any = None) -> T:
        """Return a new tree of JAX arrays with the plan's values. One seed gives the same bits.

        Each device draws its own shard, on any mesh and any number of processes. No process holds a
        whole weight whose elements are drawn independently. The bits are those that `apply` writes
        into a torch parameter of the same name and layout. Everything is checked before the first
        draw. On a CPU, a jitted function that donates the tree copies it at its first call.

        Args:
            params: the tree that the plan was made from: arrays of JAX or NumPy, or
                `jax.ShapeDtypeStruct`. Other leaves, integers and keys stay as they are. So do arrays
                without an initializer in the plan.
            seed: any integer. None draws a new one, and `plan.seed` holds it afterwards.
            sharding: the sharding of the arrays: one `Sharding`, a tree of them (or its upper part),
                or a function of a parameter's name and leaf that returns one. None is the leaf's own
                sharding, or JAX's default device.

        Raises:
            ArgumentError: if a seed or sharding is not valid, or two leaves have one name.
            PlanError: if names, shapes, dtypes or shardings do not fit, or a leaf without values is
                to keep its values. `params` is never changed.

        Example:
            >>> import isoinit, numpy as np, torch
            >>> plan = isoinit.plan(torch.nn.Linear(4, 2), torch.zeros(1, 4))
            >>> params = plan.fill({"weight": np.ones((2, 4), "f4"), "bias": np.ones(2, "f4")}, seed=0)
            >>> params["bias"]
            Array([0., 0.], dtype=float32)
        """
        with needs("jax", "Plan.fill"):
            from isoinit.jax.filling import fill

        filled: T = fill(self, params, seed, sharding=sharding)
        return filled

    @property
    def digest(self) -> str:
        """A hash of all that decides the values. Plans with equal digests give equal bits.

        Example:
            >>> import isoinit, torch
            >>> model = torch.nn.Linear(4, 2)
            >>> isoinit.plan(model).digest == isoinit.plan(model, torch.zeros(1, 4)).digest
            True
        """
        facts = [
            (e.name, e.initializer, e.layout, e.dtype, *filter(None, [e.copies])) for e in self
        ]
        return blake2b(repr(sorted(facts, key=str)).encode(), digest_size=16).hexdigest()

    def fingerprint(self, seed: int = 0) -> Fingerprint:
        """Return the fingerprint of the weights that the plan draws with a seed, without a model.

        It equals `isoinit.fingerprint(model)` of any model that the plan was applied to, on any
        number of ranks, except for parameters without an initializer. It takes as long as drawing the
        weights. It needs memory for a few megabytes, or for the largest weight that is drawn whole.

        Args:
            seed: the seed of `apply`. After an `apply` without one it is `plan.seed`.

        Raises:
            PlanError: if only the model knows a parameter's values (`Assigned`).
        """
        with needs("torch", "Plan.fingerprint"):
            from isoinit._writing.fingerprint import planned_fingerprint

        return planned_fingerprint(self, seed)

    def calibrate(
        self,
        model: nn.Module,
        batch: Any,
        seed: int = 0,
        *,
        target: float | Mapping[str, float] | None = None,
    ) -> Plan:
        """Return a plan whose scales are corrected by measuring each layer's output on data.

        The model runs once on the batch, with the weights that the plan draws with the seed. The
        output of each weight is measured without its bias. The weight's scale is corrected so that
        the output's std, over examples and units, is the target. All later layers see the corrected
        signal. The corrections are options of the new plan's initializers, so the new plan gives the
        same bits anywhere. Random numbers of the forward pass, as in dropout, are the same at every
        call. This plan is not changed.

        The corrections are computed for this seed. Pass it to `apply` too, and a layer meets its
        target to within rounding and dropout. For another seed they are approximately right. Some
        weights are not changed, and a note names them: weights that start at fixed values such as
        zero, recurrent layers, embeddings, weights inside a fused attention, weights whose size a
        parametrization prescribes, and layers whose output is zero, not finite or constant on the
        batch.

        Args:
            model: a model with the plan's parameters. It is not changed and keeps its train or eval
                mode.
            batch: real examples, as for `isoinit.plan`, and more than a few.
            seed: the seed with which the plan will be applied.
            target: the std of outputs. By default it is each entry's own (`Entry.target` without the
                contribution of the bias). A number is for all layers; for a weight that ends a
                residual branch it is divided by the square root of the number of branches. A mapping
                from names gives targets that are used as they are, and 1.0 for the other layers.

        Returns:
            The calibrated plan. Its `notes` name the weights that were not changed, and warnings.

        Raises:
            ArgumentError: if the batch holds NaN or infinity or is not valid, the seed is not an
                integer, or a target is not finite and above 0.
            UnknownParameterError: if `target` names a parameter that the model lacks.
            PlanError: if the plan does not fit the model, the model holds no values, or
                `isoinit.transfer` made the plan.
            TraceError: if the forward pass fails on the batch, with the model's own error.

        Source: Mishkin & Matas 2016, algorithm 1, in one pass.

        Example:
            >>> import isoinit, torch
            >>> model = torch.nn.Sequential(torch.nn.Linear(8, 256), torch.nn.ReLU())
            >>> batch = torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
            >>> plan = isoinit.plan(model, batch).calibrate(model, batch)
            >>> print(f"{plan.apply(model, seed=0)[0](batch).std():.3f}")
            1.000
        """
        if self.transfer is not None:
            raise PlanError(
                "this plan comes from isoinit.transfer, and a calibration would undo the "
                "transfer. Use the plan without calibration"
            )
        with needs("torch", "Plan.calibrate"):
            from isoinit._planning.calibration import calibrated

        if isinstance(target, Mapping):
            target = {self._resolve(name): value for name, value in target.items()}
        entries, notes = calibrated(self.entries, model, batch, seed, target)
        notes = tuple(dict.fromkeys((*self.notes, *notes)))
        return replace(self, entries=entries, aliases=dict(self.aliases), notes=notes, seed=None)

    def diff(self, other: Plan) -> Differences:
        """Return the differences from another plan, parameter by parameter; false if none.

        It compares initializers, standard deviations, shapes, layouts, dtypes and roles, but not
        reasons and sources. Numbers that differ by less than 2e-5 of their size are equal: a plan
        keeps six digits, and the last depends on the processor. `digest` tells whether all bits are
        the same.

        Raises:
            ArgumentError: if `other` is not a plan.

        Example:
            >>> import isoinit, torch
            >>> model, batch = torch.nn.Linear(4, 2), torch.zeros(1, 4)
            >>> plan, xavier = (isoinit.plan(model, batch, method=m) for m in ("auto", "xavier"))
            >>> for row in plan.diff(xavier):
            ...     print(row.name, row.what, row.before, row.after)
            weight initializer Orthogonal() XavierNormal()
            weight std 0.5 0.5773502691896257
        """
        if not isinstance(other, Plan):
            raise ArgumentError(
                f"other is a {type(other).__name__}; expected a Plan, such as one from Plan.load"
            )
        return Differences(compare(self.entries, other.entries), (self, other))

    def to_json(self) -> str:
        """Return the plan as JSON that a person can read and diff."""
        return saved.written(
            self.entries,
            self.aliases,
            self.method,
            self.how,
            self.seed,
            self.notes,
            self.transfer,
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Return the plan that `to_json` wrote. Only constructors of initializers are run.

        Raises:
            PlanError: if the text is not JSON (or was cut off), is not a plan, has another version,
                or holds a value that no initializer takes.
        """
        return cls(**saved.read(text))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as JSON. An existing file is replaced only by a complete one."""
        with whole(Path(path)) as file:
            file.write(f"{self.to_json()}\n".encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Return a plan that `save` wrote.

        Raises:
            OSError: if the file does not exist or cannot be opened.
            PlanError: as `from_json` does, or if the path is a folder, a pipe or a device.
        """
        try:
            return cls.from_json(read_text(Path(path), links=True))
        except ValueError as error:  # among them PlanError
            raise PlanError(f"{os.fspath(path)}: {error}") from None
