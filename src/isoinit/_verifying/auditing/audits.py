"""`audit`: what did an initialization forget?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
from torch import nn

from isoinit._reading.torch.rng import generators_kept
from isoinit._showing.findings import Finding, Verdict
from isoinit._showing.page import Page, Shown, Table, alike, folds, remarks
from isoinit._showing.table import fold, render
from isoinit._system.processes import gathered
from isoinit._verifying.any_rank import found_on_any_rank
from isoinit._verifying.auditing.compare import missing
from isoinit._verifying.auditing.constructing import Constructing
from isoinit._verifying.auditing.facts import Facts, differing
from isoinit._verifying.auditing.judge import judge
from isoinit._verifying.auditing.poisoned import (
    Held,
    Initialize,
    Writes,
    initialized,
    on_cpu,
    without_values,
)
from isoinit._verifying.auditing.ranks import Parts, compare_ranks
from isoinit._version import __version__
from isoinit._writing.deferred import is_deferring
from isoinit._writing.seeds import resolve_seed
from isoinit.errors import ArgumentError, PlanError, escaped

OTHER = 0x9E3779B9  # from one seed to the next; no rank of a run has that one


@dataclass(frozen=True)
class Audited:
    """One tensor of an audited model.

    Attributes:
        name: as it is without wrappers; tied parameters once.
        kind: "parameter", "buffer", or "buffer, not saved".
        shape: of this rank's part.
        dtype: the type of its elements.
        random: whether it was drawn.
        missing: how many elements hold what was never written, or was computed from that.
        found: the names of the findings on it.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    random: bool
    missing: int
    found: tuple[str, ...]


@dataclass(frozen=True)
class Audit(Shown, Verdict):
    """What an audit found.

    Attributes:
        model: the model's class.
        initialization: what initialized it: "its own initialization" or "initialize".
        findings: errors first, then warnings; empty for an initialization that forgets nothing.
        tensors: every parameter and buffer.
    """

    model: str
    initialization: str
    findings: list[Finding]
    tensors: list[Audited]

    def to_json(self) -> str:
        """The audit as JSON; numbers that are not finite become null."""
        tensors = [asdict(tensor) for tensor in self.tensors]
        return self._json(model=self.model, initialization=self.initialization, tensors=tensors)

    def _page(self) -> Page:
        kinds = Counter(tensor.kind for tensor in self.tensors)
        rows = [
            (t.name, t.kind, "×".join(map(str, t.shape)), t.dtype, t.missing, ", ".join(t.found))
            for t in self.tensors
        ]
        columns = ("tensor", "kind", "shape", "dtype", "elements not written", "found")
        return Page(
            f"Audit of {self.model}",
            "nothing forgotten" if self.ok else "forgotten",
            self.ok,
            [
                ("initialized by", self.initialization),
                *((re.sub(r"^\w+", r"\g<0>s", kind), str(n)) for kind, n in kinds.items()),
                ("isoinit", __version__),
            ],
            remarks(self.findings),
            tables=[
                Table(
                    "Tensors",
                    columns,
                    rows,
                    ("kind", "dtype", "found"),
                    folds=folds(alike([row[0] for row in rows], [row[1:] for row in rows]), rows),
                    main=("found",),
                )
            ],
        )

    def __str__(self) -> str:
        rows = [
            (t.name, t.kind, str(list(t.shape)), ", ".join(t.found))
            for t in self.tensors
            if t.found
        ]
        kinds = Counter(tensor.kind.partition(",")[0] for tensor in self.tensors)
        count = " and ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in kinds.items())
        if not self.findings:
            said = f"nothing forgotten: {self.model} with {count}, after {self.initialization}"
            return escaped(said)
        verdict = "nothing forgotten, with warnings" if self.ok else "forgotten"
        table = render(
            f"{verdict}: {self.model} with {count}, after {self.initialization}",
            ("tensor", "kind", "shape", "found"),
            fold(rows),
            warnings=[str(finding) for finding in self.findings],
        )
        return str(table)  # pytest-xdist sends no subclass of text


def audit(
    build: Callable[[], nn.Module], initialize: Initialize | None = None, *, seed: int | None = 0
) -> Audit:
    """Return the tensors that an initialization does not write, and other faults of it.

    The model is built on the meta device, as large models are. `to_empty` gives it memory full of
    poison (a NaN that no initializer makes), and the initialization runs there. An element that still
    holds the poison, or was computed from it, was never written. A second run with another poison
    finds unwritten elements of any dtype, and a run with another seed finds random tensors. The model
    is also built directly on the CPU, which shows the values that only the constructor sets. If
    `torch.distributed` runs, call it on every rank: shards are compared by hashes.

    It needs memory for about five copies of the model, so audit a small configuration of a large one.
    Random generators and torch's settings are restored afterwards.

    Args:
        build: a function without arguments that returns a new model at each call. It may put the
            model on the meta device and shard it (FSDP2).
        initialize: a function that fills the model in place, such as a plan's `apply`. By default
            the model's own initialization runs: its `init_weights`, else `_init_weights` for each of
            its modules, else the `reset_parameters` of each module.
        seed: the seed of torch, Python and NumPy before each run. None takes one from torch's default
            generator. On several ranks, give each rank its seed in your training.

    Raises:
        ArgumentError: if build or initialize fails or is not callable; or if the model has neither
            parameters nor buffers, a lazy layer, or tensors whose memory cannot be read.
        PlanError: inside `isoinit.deferred`, which would postpone the fills.

    Example:
        >>> import isoinit, torch
        >>> class Scaled(torch.nn.Linear):
        ...     def __init__(self):
        ...         super().__init__(4, 4)
        ...         self.scale = torch.nn.Parameter(torch.full((4,), 1e-5))
        >>> found = isoinit.audit(Scaled)
        >>> found.ok, [finding.where for finding in found.findings]
        (False, [('scale',)])
    """
    for name, function in (("build", build), ("initialize", initialize)):
        if not callable(function) and (name == "build" or function is not None):
            raise ArgumentError(
                f"{name} is a {type(function).__name__}; expected a function"
                + (
                    ", such as lambda: Model(config)"
                    if name == "build"
                    else " of the model, or None"
                )
            )
    if is_deferring():
        raise PlanError(
            "audit was called inside isoinit.deferred(), which postpones the fills that audit "
            "must observe. Call audit outside the block"
        )
    seed = resolve_seed(seed)
    dtype = torch.get_default_dtype()
    try:
        with generators_kept(), torch.inference_mode(False):
            return _audit(build, initialize, seed)
    finally:
        torch.set_default_dtype(dtype)


def _audit(build: Callable[[], nn.Module], initialize: Initialize | None, seed: int) -> Audit:
    seen = Constructing()
    straight = on_cpu(build, seed, seen)
    made = {} if straight is None else _parameters(straight)
    lost, meant = seen.lost(made), seen.meant(made)
    seen.close()
    next_seed = (seed + OTHER) % 2**63
    beside = None if straight is None else on_cpu(build, next_seed)
    met: list[nn.Module] = []
    reasons: list[str] = []

    def run(*, nan: bool = True, seed: int = seed, watch: bool = False) -> tuple[Held, Writes]:
        model, why = without_values(build, comes_so=straight is None)
        if any(model is other for other in met):
            raise ArgumentError(
                "build() returned the same model twice. Return a new model at each call"
            )
        met.append(model)
        reasons.append(why)
        return initialized(model, initialize, nan, seed, watch)

    first, writes = run(watch=True)
    second, _ = run(nan=False)
    other, _ = run(seed=next_seed)
    doubtful = any(
        missing(first.tensors[name], second.tensors[name]).computed
        and not bool(first.tensors[name].isnan().any())
        for name in differing(first, second)
    )
    again = run()[0] if any(gathered(doubtful)) else None
    pair = None if straight is None or beside is None else (straight, beside)
    own = initialize is None
    facts = Facts(first, second, other, again, pair, writes, lost, meant, Parts(), own, reasons[0])
    facts = replace(facts, parts=compare_ranks(first, facts.random))
    findings = found_on_any_rank(judge(facts))
    what = "its own initialization" if own else "initialize"
    return Audit(type(met[0]).__name__, what, findings, _tensors(facts, findings))


def _parameters(held: Held) -> dict[str, torch.Tensor]:
    return {name: t for name, t in held.whole.items() if held.kinds[name] == "parameter"}


def _tensors(facts: Facts, findings: list[Finding]) -> list[Audited]:
    return [
        Audited(
            name,
            facts.first.kinds[name],
            tuple(tensor.shape),
            str(tensor.dtype).removeprefix("torch."),
            name in facts.random,
            facts.missing[name].never + facts.missing[name].computed
            if name in facts.missing
            else 0,
            tuple(dict.fromkeys(f.name for f in findings if name in f.where)),
        )
        for name, tensor in facts.first.tensors.items()
    ]
