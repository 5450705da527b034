"""A plan: one entry a parameter, as plain data to read, edit, save and apply."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from torch import nn

from isoinit._planning.calibration import measure_corrections
from isoinit._planning.differences import Differences, compare
from isoinit._planning.overrides import choose_overrides
from isoinit._planning.shown import cells, explained, why
from isoinit._reading.torch.names import require_parameters
from isoinit._showing.page import Chart, Curve, Page, Remark, Shown, Table
from isoinit._showing.table import fold, render
from isoinit._system.files import whole
from isoinit._writing.apply import apply, fill
from isoinit._writing.deferred import unfilled
from isoinit._writing.entry import Entry
from isoinit._writing.fill import resolve_seed
from isoinit._writing.fingerprint import Fingerprint, planned_fingerprint
from isoinit._writing.placements import held
from isoinit._writing.refusals import refuse_mismatch, refuse_unfillable
from isoinit.errors import ArgumentError, IsoinitError, PlanError, UnknownParameterError
from isoinit.initializers import Initializer

FORMAT, VERSION = "isoinit plan", 1
READ = {  # what `how` says, in words
    "fake": "its own forward, on fake tensors",
    "real": "its own forward, on the example",
    "structure": "its modules",
}


@dataclass
class Plan(Shown):
    """The initializer of every parameter of a model.

    Iterate over it for entries, in the order of the model; read one with `plan[name]`; override one
    with `plan[name] = initializer`, or several with a glob or `override`. Printing it shows a table.

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

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries or name in self.aliases

    def __getitem__(self, name: str) -> Entry:
        return self.entries[self._resolve(name)]

    def __setitem__(self, pattern: str, initializer: Initializer) -> None:
        self.override({pattern: initializer})

    def override(self, overrides: Mapping[str, Initializer]) -> None:
        """Give parameters other initializers; all of the mapping, or nothing of it.

        Args:
            overrides: initializers by pattern: the name of a parameter; a glob of names, with `*`,
                `?` and `[...]`, where `*` matches dots too; or `role:` and a role, or a glob of
                roles. A name decides over globs and roles; the order is of no account.

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
        roles = {entry.name: entry.role for entry in self}
        changed = {}
        for name, (pattern, new) in choose_overrides(overrides, roles, self.aliases).items():
            new = new.for_parameter(name)
            try:
                new.std_for(self.entries[name].layout)
            except IsoinitError as error:
                raise ArgumentError(
                    f"{pattern!r} does not fit {name!r}: {error}; nothing was changed"
                ) from None
            by = "" if pattern in self else f" for {pattern!r}"
            changed[name] = replace(
                self.entries[name],
                initializer=new,
                reason=f"set by hand{by}",
                source="your choice",
                expected=None,
                target=None,
                rule="",
                close=(),
            )
        self.entries.update(changed)

    def _resolve(self, name: str) -> str:
        resolved = self.aliases.get(name, name)
        if resolved not in self.entries:
            raise UnknownParameterError(name, [*self.entries, *self.aliases])
        return resolved

    @property
    def warnings(self) -> list[str]:
        """What is doubtful about the plan, one sentence each; empty for a good one."""
        return [*self.notes, *(entry.warning for entry in self if entry.warning)]

    def explain(self, name: str) -> str:
        """The whole chain of one choice, as text.

        What feeds the parameter and what it feeds, which rule decided and which came close, the
        formula with its numbers, and the signal that is expected before and after.

        Args:
            name: the parameter's name, or another name of a tied one.

        Raises:
            UnknownParameterError: if the plan has no such parameter.

        Example:
            >>> import isoinit, torch
            >>> nn = torch.nn
            >>> model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
            >>> print(isoinit.plan(model, torch.randn(256, 8)).explain("2.weight"))
            2.weight: weight of the output, float32 of 2×32
              is fed   relu of weight
              feeds    output
              gets     HeNormal(gain=1.414), standard deviation 0.25
              by rule  "ReLU": a weight fed by ReLU or leaky ReLU of slope a
              formula  Var = 2/((1 + a²) fan_in)
              where    fan_in = 32, fan_out = 2, E[x²] = 0.5
              because  fed by relu, which takes part of the second moment; gain 1.414 restores it
                       (He et al. 2015, eq. 10 and 15)
              signal   root mean square 0.707 before, 1 after (for a standardized input)
              close    "any activation", "measured signal"
        """
        return explained(self[name])

    def apply(
        self,
        model: nn.Module,
        seed: int | None = 0,
        *,
        only_missing: Mapping[str, Any] | None = None,
        buffers: bool | Callable[[], nn.Module] = True,
    ) -> nn.Module:
        """Fill every parameter of a model; the same seed gives the same bits, however it is spread.

        The model may be whole or one rank's part of it: DTensors of any placement (`fully_shard`,
        tensor and expert parallel, replicas, on any mesh), `FullyShardedDataParallel`, a pipeline
        stage that holds only some of the plan's parameters. Each rank draws its own part, so no
        weights are communicated. Ranks that share a model compare plan and seed first, so all of
        them must call this.

        Parameters and buffers on the meta device get memory: on their mesh's kind of device, or else
        on torch's default device. Buffers that came without values, then or by `to_empty`, get those
        that the model's own initialization gives them.

        The whole plan is checked against the model before the first write. A parameter that the plan
        leaves as it was keeps its values; built under `isoinit.deferred`, it gets now what its
        constructor would have given it, drawn from torch's generators under the seed and its name.

        Args:
            model: a model with the plan's parameters or some of them, wrapped or not, on any device.
            seed: any whole number; None takes one from torch's default generator, so that
                `torch.manual_seed` governs.
            only_missing: a checkpoint's `state_dict`: parameters that are in it are left as they
                are, for `load_state_dict` to fill, before or after; those on the meta device stay
                there.
            buffers: where values come from for buffers without: True for the model's own
                initialization; a function that builds the model anew, for a model whose constructor
                alone computes them; False leaves them as they are.

        Returns:
            The model, filled in place.

        Raises:
            PlanError: if names, shapes or types differ, a parameter cannot hold initial values, a
                buffer has no values and none can be found, or `only_missing` does not fit; nothing
                was changed then.
            RankError: if another rank has another plan or seed, or failed; nothing was changed then.

        Example:
            >>> import isoinit, torch
            >>> with torch.device("meta"):
            ...     model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(2))
            >>> plan = isoinit.plan(model, torch.zeros(3, 4))
            >>> _ = plan.apply(model, seed=0)
            >>> model[1].weight.device, model[1].running_var
            (device(type='cpu'), tensor([1., 1.]))
        """
        seed = resolve_seed(seed)
        apply(self.entries, self.aliases, self.digest, model, seed, only_missing, buffers)
        return model

    def fill(self, parameters: Mapping[str, nn.Parameter], seed: int) -> None:
        """Fill some of the plan's parameters, which fit it, as `apply` fills all of a model's.

        Args:
            parameters: those to fill, by name.
            seed: as for `apply`.

        Raises:
            PlanError: if an initializer does not fit a parameter; nothing was changed then.
        """
        fill({name: (self.entries[name], held(name, p)) for name, p in parameters.items()}, seed)

    @property
    def digest(self) -> str:
        """A hash of what decides the values: plans of one digest fill a model with the same bits.

        Example:
            >>> import isoinit, torch
            >>> model = torch.nn.Linear(4, 2)
            >>> isoinit.plan(model).digest == isoinit.plan(model, torch.zeros(1, 4)).digest
            True
        """
        facts = [(e.name, e.initializer, e.layout, e.dtype) for e in self]
        return blake2b(repr(sorted(facts, key=str)).encode(), digest_size=16).hexdigest()

    def fingerprint(self, seed: int = 0) -> Fingerprint:
        """The fingerprint of the weights that the plan draws under a seed; needs no model.

        Equal to `isoinit.fingerprint(model)` of any model that it was applied to, on any number of
        ranks. Parameters that the plan leaves as they were are not in it. Takes as long as drawing
        the weights, and memory for some megabytes of them, or for the largest that is drawn whole.

        Args:
            seed: as for `apply`.
        """
        return planned_fingerprint(self, resolve_seed(seed))

    def calibrate(
        self,
        model: nn.Module,
        batch: Any,
        seed: int = 0,
        *,
        target: float | Mapping[str, float] | None = None,
    ) -> Plan:
        """Measure each layer's scale on data and correct it; gives a new plan, changes nothing.

        The model runs once on the batch, with the weights that the plan draws under the seed. The
        output of each weight is measured when it is made, without its bias, and the weight's scale
        corrected so that its standard deviation, over examples and units, is the target; all layers
        behind it see the corrected signal. The corrections are options of the new plan's
        initializers, so that it applies anywhere with the same bits.

        They are those of this draw: under the same seed a layer meets its target to within rounding
        (and the chance of dropout), under another one only about. Left alone, with a note: weights
        that start at zero or other fixed values, recurrent layers, embeddings, weights inside a
        fused attention or under weight normalization, and layers whose output is zero, not finite
        or the same everywhere on the batch.

        Args:
            model: a model with the plan's parameters; left as it was, in its train or eval mode.
            batch: real examples, as for `isoinit.plan`, and more than a few.
            seed: that with which the plan will be applied.
            target: the standard deviation of outputs. By default that of each entry (`Entry.target`,
                without the part of its bias). A number stands for all layers, divided by the square
                root of the number of branches where a weight ends a residual branch; a mapping goes
                from names to targets that are taken as they are, 1.0 standing for the others.

        Returns:
            The calibrated plan; its `notes` tell what was left alone, and what is doubtful.

        Raises:
            ArgumentError: if the batch holds NaN or infinity or is of no known kind, the seed is no
                whole number, or a target is not finite and above 0.
            UnknownParameterError: if `target` names a parameter that the model lacks.
            PlanError: if the plan does not fit the model, or the model holds no values.
            TraceError: if the forward refuses the batch, with the model's own error.

        Source: Mishkin & Matas 2016, algorithm 1, in one pass.

        Example:
            >>> import isoinit, torch
            >>> model = torch.nn.Sequential(torch.nn.Linear(8, 256), torch.nn.ReLU())
            >>> batch = torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
            >>> plan = isoinit.plan(model, batch).calibrate(model, batch)
            >>> print(f"{plan.apply(model)[0](batch).std():.3f}")
            1.000
        """
        parameters, _ = require_parameters(model, "calibrate")
        if seed is None:
            raise ArgumentError("seed=None: expected the seed that the plan will be applied with")
        refuse_unfillable(parameters, now=True)
        self.refuse_mismatch(parameters)
        kept = {entry.name: parameters[entry.name] for entry in self if entry.initializer is None}
        if names := unfilled(kept):
            raise PlanError(
                f"parameter {names[0]!r} was built under isoinit.deferred and holds no values yet, "
                "and the plan leaves it as it was: apply the plan to the model first"
            )
        if target is None:
            target = {entry.name: goal for entry in self if (goal := entry.own_target)}
        elif isinstance(target, Mapping):
            target = {self._resolve(name): value for name, value in target.items()}
        drawn = {name: _twin(parameter) for name, parameter in parameters.items()}
        self.fill(drawn, resolve_seed(seed))
        initializers = {entry.name: entry.initializer for entry in self}
        found = measure_corrections(model, parameters, drawn, initializers, batch, target)
        entries = dict(self.entries)
        for name, initializer in found.initializers.items():
            reason = f"{entries[name].reason}; calibrated on a batch: ×{found.factors[name]:.3g}"
            entries[name] = replace(
                entries[name], initializer=initializer, reason=reason, expected=None
            )
        notes = tuple(dict.fromkeys((*self.notes, *found.notes)))
        return replace(self, entries=entries, aliases=dict(self.aliases), notes=notes)

    def refuse_mismatch(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Refuse a model whose parameters are not those of the plan.

        Raises:
            PlanError: naming what differs.
        """
        refuse_mismatch(self.entries, parameters)

    def diff(self, other: Plan) -> Differences:
        """What another plan gives differently, parameter by parameter; false if nothing.

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
            weight initializer LeCunNormal() XavierNormal()
            weight std 0.5 0.5773502691896257
        """
        if not isinstance(other, Plan):
            raise ArgumentError(
                f"other is a {type(other).__name__}; expected a Plan, such as Plan.load reads"
            )
        return compare(self.entries, other.entries)

    def to_json(self) -> str:
        """The plan as JSON that a person can read and diff."""
        parameters = {entry.name: entry.to_dict() for entry in self}
        header = {"format": FORMAT, "version": VERSION, "method": self.method, "how": self.how}
        rest = {"notes": self.notes, "aliases": self.aliases, "parameters": parameters}
        return json.dumps({**header, **rest}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote. No code is run but the constructors of initializers.

        Raises:
            PlanError: if the text is not JSON (or was cut off), not a plan, of another version, or
                holds a value that no initializer takes.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise PlanError(
                f"the plan is not JSON, or was cut off ({error}); expected what Plan.save wrote"
            ) from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise PlanError(f'not a plan: expected a JSON object with "format": "{FORMAT}"')
        if data.get("version") != VERSION:
            raise PlanError(
                f"the plan has version {data.get('version')!r}, this isoinit reads {VERSION}; make "
                "the plan again, or use the isoinit that wrote it"
            )
        try:
            entries = {
                name: Entry.from_dict(name, item) for name, item in data["parameters"].items()
            }
            notes = tuple(map(str, data.get("notes", ())))
            return cls(entries, dict(data["aliases"]), data["method"], data["how"], notes)
        except (KeyError, TypeError, AttributeError, ArgumentError) as error:
            kind = "a missing field: " if isinstance(error, KeyError) else ""
            raise PlanError(f"the plan holds what no plan can: {kind}{error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as JSON; an existing file is replaced only by a whole one."""
        with whole(Path(path)) as file:
            file.write(f"{self.to_json()}\n".encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a plan that `save` wrote; see `from_json` for the errors."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except (PlanError, UnicodeDecodeError) as error:
            raise PlanError(f"{os.fspath(path)}: {error}") from None

    def _page(self) -> Page:
        filters = ("initializer", "role", "rule", "dtype")
        columns = "parameter, shape, initializer, std, role, expected, reason, source, rule, dtype"
        rows = [
            (e.name, *cells(e)[:2], e.std, e.role, e.expected, e.reason, e.source, e.rule, e.dtype)
            for e in self
        ]
        layers = [e for e in self if e.expected is not None]
        curve = Curve("expected", [e.expected for e in layers])
        signal = Chart(
            "Signal expected", "layer", "rms of the output", [curve], [e.name for e in layers]
        )
        return Page(
            f"Plan of {len(self)} parameters",
            facts=[
                ("method", self.method),
                ("read from", READ[self.how]),
                ("elements", f"{sum(math.prod(e.shape) for e in self):,}"),
            ],
            remarks=[Remark("warning", warning) for warning in self.warnings],
            charts=[signal] if layers else [],
            tables=[Table("Parameters", columns.split(", "), rows, filters)],
        )

    def __str__(self) -> str:
        reasons = {said: str(n) for n, said in enumerate(dict.fromkeys(map(why, self)), start=1)}
        return render(
            f"plan of {len(self)} parameters, method {self.method!r}",
            ("parameter", "shape", "initializer", "std", "role", "why"),
            fold([(entry.name, *cells(entry), reasons[why(entry)]) for entry in self]),
            notes=[f"{number} {said}" for said, number in reasons.items()],
            warnings=self.warnings,
        )


def _twin(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
