"""The names, arguments and defaults of `torch.nn.init`, on isoinit's streams.

    from isoinit import functional as init
    init.kaiming_normal_(layer.weight, nonlinearity="relu")

Every function fills a tensor in place and returns it, whatever its device, strides or
`requires_grad`. What differs from `torch.nn.init` everywhere:

- The values of a call follow from one 63-bit seed, drawn from `generator` or else from torch's
  default generator, so `torch.manual_seed` governs. They are not torch's values, but the same ones
  on every device and any number of threads.
- An argument that makes no sense is refused before anything is drawn or written. So is a size that the
  tensor's type cannot hold, such as float16 with std=1e5.
- A complex tensor gets the variance that its real twin would: half of it in each part, also of uniform
  numbers, where torch gives each part all of it. Only numbers of mean zero, and fixed ones, fit.

As in torch, a tensor without memory (meta device) is left as it is and nothing is drawn, so that
constructors work there. `isoinit.audit` finds what is then never written.

As in torch, the layout is taken from the shape alone. `isoinit.plan` sees the layers, and so knows
groups, strides, packed gates and the activation.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace

from torch import Generator, Tensor

from isoinit import initializers as methods
from isoinit._writing.called import fill, refuse, stream_of
from isoinit._writing.torch_init import asks_first
from isoinit.errors import ArgumentError
from isoinit.initializers.scale import activation_gain, fans

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

# Where torch's table is not E[φ(z)²]^(-1/2), or names layers: torch/nn/init.py, calculate_gain.
_TORCH_GAINS = {"sigmoid": 1.0, "tanh": 5 / 3, "selu": 3 / 4}
_TORCH_GAINS |= {f"conv{kind}{n}d": 1.0 for kind in ("", "_transpose") for n in (1, 2, 3)}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain in torch's table, or the exact one for a name that the table lacks.

    Differs from `torch.nn.init`: knows every name that `isoinit.gain` knows, such as "gelu". Tanh,
    SELU and sigmoid keep the table's 5/3, 3/4 and 1, which do not keep the second moment.

    Raises:
        ArgumentError: for an unknown name, or a `param` that is not a finite number.
    """
    number = isinstance(param, (int, float)) and not isinstance(param, bool)
    if param is not None and not (number and math.isfinite(param)):
        raise ArgumentError(f"param={param!r}: expected a finite number, or None for the default")
    return _TORCH_GAINS.get(nonlinearity) or activation_gain(nonlinearity, param)


@asks_first
def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with U(a, b), or with `a` where the bounds are equal.

    Differs from `torch.nn.init`: no rounding carries a value up to `b`, in any type.

    Raises:
        ArgumentError: if a > b, or either is not finite.
    """
    refuse(tensor)
    initializer = methods.Constant(a) if a == b else methods.Uniform(a, b)
    return fill(tensor, initializer, stream_of(tensor, "uniform_", generator))


@asks_first
def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with N(mean, std²), as `torch.nn.init` does but for the values.

    Raises:
        ArgumentError: if `std` is negative, or either is not finite.
    """
    refuse(tensor)
    return fill(tensor, methods.Normal(mean, std), stream_of(tensor, "normal_", generator))


@asks_first
def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fill with N(mean, std²), cut to [a, b]: absolute bounds, either of which may be infinite.

    Differs from `torch.nn.init`: a value is one draw, inverted, so that nothing is drawn again; and
    std=0 gives the mean, or the bound nearest to it, where torch divides by zero.

    Raises:
        ArgumentError: if a >= b, if `std` is negative or something else not finite, and if [a, b]
            is further than 10.8 std from the mean, where torch still draws, or too narrow to be
            resolved.
    """
    refuse(tensor)
    methods.Normal(mean, std)  # refuses a bad mean or std
    if not a < b:
        raise ArgumentError(f"a={a!r}, b={b!r}: expected a < b, the absolute bounds of the values")
    if std == 0:
        return fill(tensor, methods.Constant(min(max(mean, a), b)))
    # TruncatedNormal wants its bounds finite, and in standard deviations from the mean.
    low = max((a - mean) / std, -sys.float_info.max)
    high = min((b - mean) / std, sys.float_info.max)
    initializer = methods.TruncatedNormal(mean, std, low, high)
    return fill(tensor, initializer, stream_of(tensor, "trunc_normal_", generator))


@asks_first
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with `val`, as `torch.nn.init` does, which takes infinities and NaN too.

    Raises:
        ArgumentError: if `val` is not finite.
    """
    refuse(tensor)
    return fill(tensor, methods.Constant(val))


@asks_first
def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1, as `torch.nn.init` does."""
    refuse(tensor)
    return fill(tensor, methods.Ones())


@asks_first
def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0, as `torch.nn.init` does."""
    refuse(tensor)
    return fill(tensor, methods.Zeros())


@asks_first
def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with the identity, as `torch.nn.init` does.

    Raises:
        ArgumentError: unless the tensor has 2 axes.
    """
    refuse(tensor, 2, 2)
    return fill(tensor, methods.Identity())


@asks_first
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill a kernel with the identity at its centre tap, group by group, as `torch.nn.init` does.

    Raises:
        ArgumentError: unless the tensor has 3 to 5 axes, the first of which `groups` divides.
    """
    refuse(tensor, 3, 5)
    return fill(tensor, methods.Dirac(), layout=fans.conv(tensor.shape, groups))


@asks_first
def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with U(-r, r), r = gain · sqrt(6/(fan_in + fan_out)): Glorot & Bengio 2010, eq. 16.

    Raises:
        ArgumentError: if `gain` is negative or not finite, or the tensor has fewer than 2 axes.
    """
    refuse(tensor, 2)
    initializer = methods.Zeros() if gain == 0 else methods.XavierUniform(gain)
    return fill(tensor, initializer, stream_of(tensor, "xavier_uniform_", generator))


@asks_first
def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with N(0, gain² · 2/(fan_in + fan_out)); the rest is as for `xavier_uniform_`."""
    refuse(tensor, 2)
    initializer = methods.Zeros() if gain == 0 else methods.XavierNormal(gain)
    return fill(tensor, initializer, stream_of(tensor, "xavier_normal_", generator))


@asks_first
def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill with U(-r, r), r = gain · sqrt(3/fan): He et al. 2015, eq. 10, 14 and 15.

    Differs from `torch.nn.init`: takes the mode "fan_avg" too, and all that `calculate_gain` knows.

    Raises:
        ArgumentError: for an unknown mode or nonlinearity, an `a` that is not finite, or a tensor
            of fewer than 2 axes.
    """
    refuse(tensor, 2)
    initializer = _he(methods.HeUniform, a, mode, nonlinearity)
    return fill(tensor, initializer, stream_of(tensor, "kaiming_uniform_", generator))


@asks_first
def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill with N(0, gain²/fan); the rest is as for `kaiming_uniform_`."""
    refuse(tensor, 2)
    initializer = _he(methods.HeNormal, a, mode, nonlinearity)
    return fill(tensor, initializer, stream_of(tensor, "kaiming_normal_", generator))


@asks_first
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Fill with `gain` times a (semi-)orthogonal matrix, the trailing axes taken as one.

    Differs from `torch.nn.init`: takes half precision on a CPU too, rounded once at the end.

    Raises:
        ArgumentError: if `gain` is not finite, or the tensor has fewer than 2 axes.
    """
    refuse(tensor, 2)
    # With Q, -Q is uniform too: a negative gain, which torch takes, is the same distribution.
    initializer = methods.Zeros() if gain == 0 else methods.Orthogonal(abs(gain))
    return fill(tensor, initializer, stream_of(tensor, "orthogonal_", generator))


@asks_first
def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None
) -> Tensor:
    """Fill a matrix with N(0, std²), and with ceil(sparsity · rows) zeros in each column.

    Differs from `torch.nn.init`: `generator` places the zeros too. Columns are a `Linear`'s inputs;
    `isoinit.Sparse` gives each *unit* as many inputs (Martens 2010) and works out the scale.

    Raises:
        ArgumentError: unless `sparsity` is in [0, 1], `std` finite and not negative, and 2 axes.
    """
    refuse(tensor, 2, 2)
    methods.Normal(std=std)  # refuses a bad std
    if not 0 <= sparsity <= 1:
        raise ArgumentError(f"sparsity={sparsity!r}: expected the fraction of zeros, from 0 to 1")
    kept = len(tensor) - math.ceil(sparsity * len(tensor))
    gain = std * math.sqrt(kept)  # Sparse draws non-zeros of gain/sqrt(kept), column by column
    initializer = methods.Zeros() if gain == 0 else methods.Sparse(connections=kept, gain=gain)
    layout = fans.linear(tensor.shape, transposed=True)
    return fill(tensor, initializer, stream_of(tensor, "sparse_", generator), layout)


def _he(
    kind: type[methods.HeNormal | methods.HeUniform], a: float, mode: str, nonlinearity: str
) -> methods.Initializer:
    initializer = kind(a, str(mode).lower())
    slope = a if nonlinearity == "leaky_relu" else None
    return replace(initializer, gain=calculate_gain(nonlinearity, slope))
