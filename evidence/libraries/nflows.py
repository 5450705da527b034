"""`nflows`: normalizing flows, trained on their likelihood."""

from __future__ import annotations

import nflows.flows as library
import torch
from evidence.libraries.catalogue import Models
from nflows import distributions, transforms
from nflows.nn import nets
from torch import nn

FEATURES, HIDDEN, LAYERS = 8, 64, 4


class LogProb(nn.Module):
    """A flow whose forward is the log-likelihood of each example."""

    def __init__(self, flow: nn.Module) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The log-likelihood of each example."""
        return torch.as_tensor(self.flow.log_prob(x))

    def objective(self, output: torch.Tensor) -> torch.Tensor:
        """What training minimizes."""
        return -output.mean()


def models() -> Models:
    """Flows of each kind of transform."""
    sizes = (FEATURES, HIDDEN, LAYERS, 2)
    plain = {
        "RealNVP": lambda: library.SimpleRealNVP(*sizes),
        "RealNVP, volume kept": lambda: library.SimpleRealNVP(*sizes, use_volume_preserving=True),
        "RealNVP, batch norm": lambda: library.SimpleRealNVP(
            *sizes, batch_norm_within_layers=True, batch_norm_between_layers=True
        ),
        "MAF": lambda: library.MaskedAutoregressiveFlow(*sizes),
        "MAF, batch norm": lambda: library.MaskedAutoregressiveFlow(
            *sizes, batch_norm_between_layers=True
        ),
        "spline couplings": lambda: _stack(_spline),
        "spline autoregression": lambda: _stack(_autoregressive_spline),
        "LU and affine couplings": lambda: _stack(_affine),
    }
    for name, make in plain.items():
        yield name, lambda make=make: (LogProb(make()), torch.randn(64, FEATURES))


def _stack(layer: object) -> nn.Module:
    layers = [step for i in range(LAYERS) for step in layer(i)]  # type: ignore[operator]
    base = distributions.StandardNormal([FEATURES])
    return library.Flow(transforms.CompositeTransform(layers), base)


def _net(inputs: int, outputs: int) -> nn.Module:
    return nets.ResidualNet(inputs, outputs, hidden_features=HIDDEN, num_blocks=2)


def _mask(place: int) -> torch.Tensor:
    return (torch.arange(FEATURES) + place) % 2


def _spline(place: int) -> list[nn.Module]:
    kind = transforms.PiecewiseRationalQuadraticCouplingTransform
    return [kind(_mask(place), _net, num_bins=8, tails="linear", tail_bound=3.0)]


def _autoregressive_spline(_: int) -> list[nn.Module]:
    kind = transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform
    layer = kind(FEATURES, HIDDEN, num_bins=8, tails="linear", tail_bound=3.0)
    return [transforms.ReversePermutation(FEATURES), layer]


def _affine(place: int) -> list[nn.Module]:
    return [
        transforms.LULinear(FEATURES),
        transforms.ActNorm(FEATURES),
        transforms.AffineCouplingTransform(_mask(place), _net),
    ]
