"""isoinit plans, applies and verifies the initial parameters of neural networks.

plan = isoinit.plan(model, batch)      # every parameter: initializer, std, role, reason, source
plan.apply(model, seed=0)              # the same bits on any number of threads, in any order
health = isoinit.check(model, batch)   # measures the signal, forward and backward
isoinit.compare(build, batch)          # the signal and the training under every method, side by side
isoinit.coordinates(build, batch=x)    # whether training moves each layer as much at any width
isoinit.audit(build)                   # what the initialization of a model on the meta device forgets
isoinit.write_checkpoint(plan, model, folder)  # the same bits to files, without memory for the model

Names are handed out on first use (PEP 562): importing isoinit loads no framework. To add a public
name, add it to its room below, for programs, to `TYPE_CHECKING`, for type checkers, and to `__all__`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from isoinit._version import __version__ as __version__

if TYPE_CHECKING:
    from isoinit import checkpoint as checkpoint
    from isoinit import errors as errors
    from isoinit import functional, sparse, variational
    from isoinit import initializers as initializers
    from isoinit._planning.activations import gain
    from isoinit._planning.differences import Difference, Differences
    from isoinit._planning.plan import Plan
    from isoinit._planning.printing import Entries
    from isoinit._planning.transfer.transfers import Transfer
    from isoinit._planning.transfer.verb import transfer
    from isoinit._planning.verbs import init, plan, read
    from isoinit._reading.reading import Reading
    from isoinit._showing.findings import Finding
    from isoinit._verifying.auditing.audits import Audit, audit
    from isoinit._verifying.comparing.results import Compared
    from isoinit._verifying.comparing.side_by_side import Comparison
    from isoinit._verifying.comparing.torch.comparisons import compare
    from isoinit._verifying.coordinates.checks import Coordinates, coordinates
    from isoinit._verifying.health.differences import HealthDifferences
    from isoinit._verifying.health.records import LayerHealth, WeightHealth
    from isoinit._verifying.health.results import Health
    from isoinit._verifying.health.torch.checks import check
    from isoinit._writing.deferred import deferred
    from isoinit._writing.entry import Entry
    from isoinit._writing.factors import Factors
    from isoinit._writing.fingerprint import Fingerprint, fingerprint
    from isoinit._writing.slice import fill_slice
    from isoinit.checkpoint import Verified, Written, verify_checkpoint, write_checkpoint
    from isoinit.errors import IsoinitError
    from isoinit.initializers import (
        ICNR,
        Assigned,
        Blocks,
        Centred,
        Constant,
        DecayRates,
        DeltaOrthogonal,
        Dirac,
        Directions,
        GateBias,
        HeNormal,
        HeUniform,
        Identity,
        Initializer,
        KinkBias,
        LeCunNormal,
        LeCunUniform,
        LogFrequencies,
        LooksLinear,
        Normal,
        Norms,
        Ones,
        Orthogonal,
        PriorBias,
        Sparse,
        SparseOrthogonal,
        Spherical,
        TimeSteps,
        TruncatedNormal,
        Uniform,
        Variational,
        XavierNormal,
        XavierUniform,
        Zeros,
    )
    from isoinit.variational import FromPosterior

_ROOMS = {
    "_planning.activations": "gain",
    "_planning.differences": "Difference Differences",
    "_planning.plan": "Plan",
    "_planning.printing": "Entries",
    "_planning.transfer.transfers": "Transfer",
    "_planning.transfer.verb": "transfer",
    "_planning.verbs": "init plan read",
    "_reading.reading": "Reading",
    "_showing.findings": "Finding",
    "_verifying.auditing.audits": "Audit audit",
    "_verifying.comparing.torch.comparisons": "compare",
    "_verifying.comparing.results": "Compared",
    "_verifying.comparing.side_by_side": "Comparison",
    "_verifying.coordinates.checks": "Coordinates coordinates",
    "_verifying.health.torch.checks": "check",
    "_verifying.health.records": "LayerHealth WeightHealth",
    "_verifying.health.differences": "HealthDifferences",
    "_verifying.health.results": "Health",
    "_writing.deferred": "deferred",
    "_writing.entry": "Entry",
    "_writing.factors": "Factors",
    "_writing.fingerprint": "Fingerprint fingerprint",
    "_writing.slice": "fill_slice",
    "checkpoint": "Verified Written verify_checkpoint write_checkpoint",
    "errors": "IsoinitError",
    "initializers": """ICNR Assigned Blocks Centred Constant DecayRates DeltaOrthogonal Dirac
        Directions GateBias HeNormal HeUniform Identity Initializer KinkBias LeCunNormal
        LeCunUniform LogFrequencies LooksLinear Normal Norms Ones Orthogonal PriorBias Sparse
        SparseOrthogonal Spherical TimeSteps TruncatedNormal Uniform Variational XavierNormal
        XavierUniform Zeros""",
    "variational": "FromPosterior",
}
_PACKAGES = ("checkpoint", "errors", "functional", "initializers", "sparse", "variational")
_HOMES = {name: f"isoinit.{room}" for room, names in _ROOMS.items() for name in names.split()}

__all__ = [
    "ICNR",
    "Assigned",
    "Audit",
    "Blocks",
    "Centred",
    "Compared",
    "Comparison",
    "Constant",
    "Coordinates",
    "DecayRates",
    "DeltaOrthogonal",
    "Difference",
    "Differences",
    "Dirac",
    "Directions",
    "Entries",
    "Entry",
    "Factors",
    "Finding",
    "Fingerprint",
    "FromPosterior",
    "GateBias",
    "HeNormal",
    "HeUniform",
    "Health",
    "HealthDifferences",
    "Identity",
    "Initializer",
    "IsoinitError",
    "KinkBias",
    "LayerHealth",
    "LeCunNormal",
    "LeCunUniform",
    "LogFrequencies",
    "LooksLinear",
    "Normal",
    "Norms",
    "Ones",
    "Orthogonal",
    "Plan",
    "PriorBias",
    "Reading",
    "Sparse",
    "SparseOrthogonal",
    "Spherical",
    "TimeSteps",
    "Transfer",
    "TruncatedNormal",
    "Uniform",
    "Variational",
    "Verified",
    "WeightHealth",
    "Written",
    "XavierNormal",
    "XavierUniform",
    "Zeros",
    "audit",
    "check",
    "compare",
    "coordinates",
    "deferred",
    "fill_slice",
    "fingerprint",
    "functional",
    "gain",
    "init",
    "plan",
    "read",
    "sparse",
    "transfer",
    "variational",
    "verify_checkpoint",
    "write_checkpoint",
]


if sys.byteorder != "little":
    raise ImportError(
        "isoinit runs on little-endian processors only, such as x86-64 and arm64, and this one is "
        "big-endian: nobody has tested there that a seed gives the same bits, and checkpoint files "
        "are little-endian. Write a checkpoint on a little-endian machine and load it on this one"
    )

if not TYPE_CHECKING:  # or type checkers would take any name for one that is there

    def __getattr__(name: str) -> Any:
        from isoinit._system.packages import needs

        if name not in _HOMES and name not in _PACKAGES:
            raise AttributeError(f"module 'isoinit' has no attribute {name!r}")
        with needs("torch", f"isoinit.{name}"):
            if name in _PACKAGES:
                return import_module(f"isoinit.{name}")
            value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_PACKAGES, "__version__"})
