"""The eight methods: zero, random, Xavier, He, LeCun, orthogonal, sparse, variational. No framework.

One file a method, each of frozen dataclasses that keep the interface of `base.Initializer`; a new one
is a file here and a line below. What they share: `scale` (fans, gains, the edge of chaos) and
`patterns` (which weights a sparse one keeps). Every class below may be imported from here.
"""

from isoinit.initializers.assigned import Assigned, bare
from isoinit.initializers.base import Initializer
from isoinit.initializers.blocks import Blocks
from isoinit.initializers.centred import Centred
from isoinit.initializers.he import HeNormal, HeUniform
from isoinit.initializers.icnr import ICNR
from isoinit.initializers.kinks import KinkBias, Spherical
from isoinit.initializers.lecun import LeCunNormal, LeCunUniform
from isoinit.initializers.looks_linear import LooksLinear
from isoinit.initializers.norms import Directions, Norms
from isoinit.initializers.orthogonal import DeltaOrthogonal, Orthogonal
from isoinit.initializers.prior import LogFrequencies, PriorBias
from isoinit.initializers.random import Normal, TruncatedNormal, Uniform
from isoinit.initializers.sparse import Sparse, SparseInitializer
from isoinit.initializers.sparse_orthogonal import SparseOrthogonal
from isoinit.initializers.state_space import DecayRates, TimeSteps
from isoinit.initializers.variational import Variational
from isoinit.initializers.xavier import XavierNormal, XavierUniform
from isoinit.initializers.zero import Constant, Dirac, GateBias, Identity, Ones, Zeros

__all__ = [
    "ICNR",
    "Assigned",
    "Blocks",
    "Centred",
    "Constant",
    "DecayRates",
    "DeltaOrthogonal",
    "Dirac",
    "Directions",
    "GateBias",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "KinkBias",
    "LeCunNormal",
    "LeCunUniform",
    "LogFrequencies",
    "LooksLinear",
    "Normal",
    "Norms",
    "Ones",
    "Orthogonal",
    "PriorBias",
    "Sparse",
    "SparseInitializer",
    "SparseOrthogonal",
    "Spherical",
    "TimeSteps",
    "TruncatedNormal",
    "Uniform",
    "Variational",
    "XavierNormal",
    "XavierUniform",
    "Zeros",
    "bare",
]
