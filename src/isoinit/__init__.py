"""isoinit plans, applies and verifies the initial parameters of neural networks.

plan = isoinit.plan(model, batch)      # every parameter: initializer, std, role, reason, source
plan.apply(model, seed=0)              # the same bits on any number of threads, in any order
health = isoinit.check(model, batch)   # measures the signal, forward and backward
isoinit.compare(build, batch)          # the signal and the training under every method, side by side
isoinit.audit(build)                   # what the initialization of a model on the meta device forgets
isoinit.write_checkpoint(plan, model, folder)  # the same bits to files, without memory for the model
"""

from isoinit import functional, sparse, variational
from isoinit.activations import gain
from isoinit.auditing import Audit, audit
from isoinit.checkpoint import Verified, Written, verify_checkpoint, write_checkpoint
from isoinit.comparing import Compared, Comparison, compare
from isoinit.differences import Difference, Differences
from isoinit.entries import Entry
from isoinit.errors import IsoinitError
from isoinit.findings import Finding
from isoinit.fingerprints import Fingerprint, fingerprint
from isoinit.health import Health, check
from isoinit.initializers import (
    ICNR,
    Constant,
    DecayRates,
    DeltaOrthogonal,
    Dirac,
    GateBias,
    HeNormal,
    HeUniform,
    Identity,
    Initializer,
    LeCunNormal,
    LeCunUniform,
    LogFrequencies,
    LooksLinear,
    Normal,
    Ones,
    Orthogonal,
    PriorBias,
    Sparse,
    SparseOrthogonal,
    TimeSteps,
    TruncatedNormal,
    Uniform,
    Variational,
    XavierNormal,
    XavierUniform,
    Zeros,
)
from isoinit.plans import Plan
from isoinit.postpone import deferred
from isoinit.reading import Reading
from isoinit.slicing import fill_slice
from isoinit.variational import FromPosterior
from isoinit.verbs import init, plan, read

__version__ = "0.1.0"

__all__ = [
    "ICNR",
    "Audit",
    "Compared",
    "Comparison",
    "Constant",
    "DecayRates",
    "DeltaOrthogonal",
    "Difference",
    "Differences",
    "Dirac",
    "Entry",
    "Finding",
    "Fingerprint",
    "FromPosterior",
    "GateBias",
    "HeNormal",
    "HeUniform",
    "Health",
    "Identity",
    "Initializer",
    "IsoinitError",
    "LeCunNormal",
    "LeCunUniform",
    "LogFrequencies",
    "LooksLinear",
    "Normal",
    "Ones",
    "Orthogonal",
    "Plan",
    "PriorBias",
    "Reading",
    "Sparse",
    "SparseOrthogonal",
    "TimeSteps",
    "TruncatedNormal",
    "Uniform",
    "Variational",
    "Verified",
    "Written",
    "XavierNormal",
    "XavierUniform",
    "Zeros",
    "audit",
    "check",
    "compare",
    "deferred",
    "fill_slice",
    "fingerprint",
    "functional",
    "gain",
    "init",
    "plan",
    "read",
    "sparse",
    "variational",
    "verify_checkpoint",
    "write_checkpoint",
]
