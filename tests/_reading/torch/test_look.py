"""Which tensors look drawn, and which look like tables that code computes."""

import math

import pytest
import torch
from torch import nn

from isoinit._reading.torch.look import look_at


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def sinusoid(length, width):
    """Positions as in Vaswani et al. 2017, section 3.5."""
    rate = 10000 ** (-torch.arange(0, width, 2) / width)
    angle = torch.arange(length)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


def hippo(size):
    """HiPPO-LegS: Gu et al. 2020, theorem 2."""
    n = torch.arange(size)
    root = (2 * n + 1).sqrt()
    return (root[:, None] * root).tril(-1) + torch.diag(n + 1.0)


DRAWN = {
    "normal": normal(32, 16),
    "uniform": torch.rand(64, generator=torch.Generator().manual_seed(0)),
    "kernel": normal(16, 3, 3, 3),
    "bfloat16": normal(256, 128).bfloat16(),
    "orthogonal": torch.linalg.qr(normal(32, 32))[0],
    "sparse": normal(64, 64) * (normal(64, 64).flip(0) > 1),
    "a row of padding": torch.cat([torch.zeros(1, 16), normal(20, 16)]),
}
TABLES = {
    "zeros": torch.zeros(32, 16),
    "identity": torch.eye(32),
    "signs": normal(32, 32).sign(),
    "line": torch.linspace(-1, 1, 16),
    "decay": torch.arange(1.0, 17).log().expand(32, 16),
    "slopes": 2.0 ** -torch.arange(1, 9),
    "sinusoid": sinusoid(50, 16),
    "cosines": torch.tensor(
        [[math.cos(math.pi / 32 * (n + 0.5) * k) for n in range(32)] for k in range(32)]
    ),
    "hippo": hippo(16),
    "kernel": nn.init.dirac_(torch.empty(16, 16, 3)),
}


@pytest.mark.parametrize("values", DRAWN.values(), ids=DRAWN)
def test_random_values_look_drawn(values):
    assert look_at(values).kind == "random"


@pytest.mark.parametrize("values", TABLES.values(), ids=TABLES)
def test_tables_do_not(values):
    assert look_at(values).kind in ("constant", "structured")


def test_a_large_tensor_is_looked_at_in_parts():
    """Of types that NumPy lacks some rows are copied: the first, those in the middle, the last."""
    large = torch.full((3000, 1500), 0.5, dtype=torch.bfloat16)
    assert look_at(large).kind == "constant"
    large[1500:] = 1.0
    assert look_at(large).said == "the numbers 0.5 and 1"


def test_complex_numbers_say_what_their_parts_say():
    normal = torch.complex(torch.randn(9, 9), torch.randn(9, 9))
    assert look_at(normal).kind == "random"
    assert look_at(torch.ones(4, dtype=torch.cfloat)).said == "1.0 in every element"
    rates = torch.complex(torch.full((16,), -0.5), math.pi * torch.arange(16.0))
    assert look_at(rates).kind == "structured"
    assert "−0.5 in every element" in look_at(rates).said
