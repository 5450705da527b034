"""A plan: one entry a parameter, as plain data to read, edit, save and apply."""

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
from isoinit.errors import ArgumentError, PlanError, UnknownParameterError
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

    Iterate over a plan for its entries, in the order of the model. Read one with `plan[name]`.
    Override one or several with `plan[name or glob] = initializer`. Print the plan for a table.

    Attributes:
        entries: what each parameter gets, by name.
        aliases: for each further name of a tied parameter, the name of its entry.
        method: the method or recipe that the plan was made with.
        how: how the model was read: "fake", "real" or "structure"; "jaxpr" of a model of JAX.
        notes: what is doubtful about the plan as a whole.
        emptied: the buffers that were on the meta device when the plan was made. They belong to
            the modules of that model, so they are neither saved nor compared.
        seed: what `apply` last filled a model under; None before that. It is saved, not compared.
        transfer: what the factors of its entries were worked out for, if `isoinit.transfer` made it;
            `isoinit.Transfer(plan)` makes groups for the optimizer of them. None in any other plan.
        outline: the model's class and how its layers follow each other, for the page to draw; None in
            a plan that was loaded, for it is neither saved nor compared.

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

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries or name in self.aliases

    def __getitem__(self, name: str) -> Entry:
        return self.entries[self._resolve(name)]

    def __setitem__(self, pattern: str, initializer: Initializer) -> None:
        self.override({pattern: initializer})

    def override(self, overrides: Mapping[str, Initializer]) -> None:
        """Give parameters other initializers. If one does not fit, nothing is changed.

        Args:
            overrides: initializers by pattern: the name of a parameter; a glob of names, with `*`,
                `?` and `[...]`, where `*` matches dots too; or `role:` and a role, or a glob of
                roles. A name decides over globs and roles; order does not matter.

        Raises:
            UnknownParameterError: for a pattern that matches nothing.
            ArgumentError: if an initializer does not fit a parameter, two patterns give one
                parameter different initializers, or a key or value is of another kind.

        Example:
            >>> import isoinit, torch
            >>> plan = isoinit.plan(torch.nn.Linear(4, 2), torch.zeros(1, 4))
            >>> plan.override({"role:weight*": isoinit.Normal(std=0.02), "bias": isoinit.Ones()})
            >>> plan["weight"].std, plan["bias"].initializer
            (0.02, Ones())
        """
        self.entries.update(overridden(self.entries, self.aliases, overrides))

    def _resolve(self, name: str) -> str:
        resolved = self.aliases.get(name, name)
        if resolved not in self.entries:
            raise UnknownParameterError(name, [*self.entries, *self.aliases])
        return resolved

    @property
    def warnings(self) -> list[str]:
        """What is doubtful about the plan, one sentence each; empty if nothing is."""
        more = () if self.transfer is None else self.transfer.notes
        return [*self.notes, *more, *(entry.warning for entry in self if entry.warning)]

    @property
    def kept(self) -> dict[str, str]:
        """The parameters that keep the values that they have, by name, each with the reason."""
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
        """Fill every parameter of a model; one seed gives the same bits, however it is sharded.

        The model may be whole or one rank's shard: DTensors of any placement (`fully_shard`, tensor
        and expert parallel, replicas, on any mesh), `FullyShardedDataParallel`, or a pipeline stage
        with some of the plan's parameters. Each rank draws its own shard: no weights are sent. Ranks
        that share a model compare plan and seed first, so all of them must call this; without a seed
        they take the first rank's draw. Nothing is compared for a model that is not sharded yet, nor
        between pipeline stages: give their ranks one seed.

        What is on the meta device gets memory on its mesh's kind of device, or on torch's default
        device. Buffers without values get those of the model's own initialization.

        The whole plan is checked against the model before the first write. A parameter that the plan
        leaves as it was keeps its values. If it was built under `isoinit.deferred`, it gets what its
        constructor would have given it, drawn from torch's generators under the seed and its name.

        Args:
            model: a model with the plan's parameters or some of them, wrapped or not, on any device.
            seed: any whole number. None draws a new one from torch's default generator at every
                call, so that `torch.manual_seed` governs; `plan.seed` tells it afterwards.
            only: the parameters to fill, as for `isoinit.plan`: the others are left as they are.
            only_missing: what a checkpoint has, as for `isoinit.plan`: it is left as it is, for
                `load_state_dict` to fill, before or after. Both leave on the meta device what is
                there.
            buffers: where buffers without values get them: True for the model's own initialization; a
                function that builds the model anew, for a model whose constructor alone computes
                them; False leaves them as they are.

        Returns:
            The model, filled in place.

        Raises:
            PlanError: if names, shapes or types differ, a parameter cannot hold initial values, a
                buffer has no values and none can be found, or `only_missing` does not fit.
            UnknownParameterError: if a pattern of `only` matches nothing.
            RankError: if another rank has another plan or seed, or failed. Nothing was changed by any
                of these.

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
        """Return a new tree of JAX arrays with the plan's values; one seed gives the same bits.

        Each device's shard is drawn by itself, on any mesh and any number of processes: no process
        holds a whole weight whose elements are drawn one by one. The bits are those that `apply`
        writes into a torch parameter of the same name and layout. All is checked before anything is
        drawn. On a processor, a jitted function that donates the tree copies it at its first call.

        Args:
            params: the tree that the plan was made from: arrays of JAX or NumPy, or
                `jax.ShapeDtypeStruct`. Other leaves, integers and keys stay as they are, as do arrays
                that the plan leaves as they were.
            seed: any whole number. None draws a new one; `plan.seed` tells it afterwards.
            sharding: where arrays go: one `Sharding`, a tree of them (or its upper part), or a
                function of a parameter's name and leaf that returns one. None there, or instead,
                means the leaf's own sharding, else JAX's default device.

        Raises:
            ArgumentError: if a seed or sharding is of another kind, or two leaves have one name.
            PlanError: if names, shapes, types or shardings do not fit, or a leaf without values should
                keep them. `params` is never changed.

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
        """A hash of what decides the values: plans with equal digests fill a model with equal bits.

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
        """Return the fingerprint of the weights that the plan draws under a seed; needs no model.

        It equals `isoinit.fingerprint(model)` of any model that the plan was applied to, on any
        number of ranks, but for parameters that the plan leaves as they were. This takes as long as
        drawing the weights, and memory for some megabytes, or for the largest weight drawn whole.

        Args:
            seed: that of `apply`; after an `apply` without one, `plan.seed`.

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

        The model runs once on the batch, with the weights that the plan draws under the seed. The
        output of each weight is measured when it is made, without its bias. The weight's scale is
        corrected so that the output's std, over examples and units, is the target. All layers
        behind it see the corrected signal. The corrections are options of the new plan's
        initializers, so the new plan gives the same bits anywhere; what the forward draws, as dropout
        does, is the same at every call. This plan is not changed.

        The corrections are computed for this seed: pass it to `apply` too, and a layer meets its
        target to within rounding and dropout. For another seed they are approximately right. Left
        alone, with a note: weights that start at fixed values such as zero, recurrent layers,
        embeddings, weights inside a fused attention or of a size that a parametrization prescribes,
        and layers whose output is zero, not finite or constant on the batch.

        Args:
            model: a model with the plan's parameters; left as it was, in its train or eval mode.
            batch: real examples, as for `isoinit.plan`, and more than a few.
            seed: that with which the plan will be applied.
            target: the std of outputs. By default each entry's own (`Entry.target` without the part
                of its bias). A number is for all layers; where a weight ends a residual branch it is
                divided by the square root of the number of branches. A mapping from names gives
                targets that are used as they are, and 1.0 for the other layers.

        Returns:
            The calibrated plan; its `notes` tell what was left alone, and what is doubtful.

        Raises:
            ArgumentError: if the batch holds NaN or infinity or is of no known kind, the seed is no
                whole number, or a target is not finite and above 0.
            UnknownParameterError: if `target` names a parameter that the model lacks.
            PlanError: if the plan does not fit the model, the model holds no values, or the plan is
                one of a transfer.
            TraceError: if the forward refuses the batch, with the model's own error.

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
                "the scales of this plan follow from a smaller model's (isoinit.transfer), and what "
                "corrects them for this model alone would undo that: calibrate no plan of a transfer"
            )
        with needs("torch", "Plan.calibrate"):
            from isoinit._planning.calibration import calibrated

        if isinstance(target, Mapping):
            target = {self._resolve(name): value for name, value in target.items()}
        entries, notes = calibrated(self.entries, model, batch, seed, target)
        notes = tuple(dict.fromkeys((*self.notes, *notes)))
        return replace(self, entries=entries, aliases=dict(self.aliases), notes=notes, seed=None)

    def diff(self, other: Plan) -> Differences:
        """Return what another plan gives differently, parameter by parameter; false if nothing.

        Compared are initializers, standard deviations, shapes, layouts, types and roles; reasons
        and sources are not. Plans without differences fill a model with the same bits.

        Raises:
            ArgumentError: if `other` is no plan.

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
                f"other is a {type(other).__name__}; expected a Plan, such as Plan.load reads"
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
        """Read what `to_json` wrote. No code is run but the constructors of initializers.

        Raises:
            PlanError: if the text is not JSON (or was cut off), not a plan, of another version, or
                holds a value that no initializer takes.
        """
        return cls(**saved.read(text))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as JSON; an existing file is replaced only by a whole one."""
        with whole(Path(path)) as file:
            file.write(f"{self.to_json()}\n".encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a plan that `save` wrote.

        Raises:
            OSError: if the file is not there, or the system refuses to open it.
            PlanError: as `from_json` does; or if it is a folder, a pipe or a device.
        """
        try:
            return cls.from_json(read_text(Path(path), links=True))
        except ValueError as error:  # among them PlanError
            raise PlanError(f"{os.fspath(path)}: {error}") from None
