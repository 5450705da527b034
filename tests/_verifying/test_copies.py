"""Which values look drawn, and how copies are told."""

import math

import pytest
import torch
from torch import nn

from isoinit._verifying.copies import copies_found, looks_drawn


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
    "few": normal(7),
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
    assert looks_drawn(values)


@pytest.mark.parametrize("values", TABLES.values(), ids=TABLES)
def test_tables_do_not(values):
    assert not looks_drawn(values)


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        (
            [[f"layers.{i}.{n}.weight" for i in range(4)] for n in "abcd"],
            "layers.0…3 (a.weight, b.weight, c.weight and 1 more)",
        ),
        ([["0.weight", "2.weight"], ["0.bias", "2.bias"]], "0, 2 (weight, bias)"),
        ([[f"m.{i}.w" for i in (0, 2, 4, 6)]], "m.0, m.2, m.4 and 1 more (w)"),
        ([["q1.0.w", "q2.0.w"], ["q1.2.w", "q2.2.w"]], "q1, q2 (0.w, 2.w)"),
        ([["w1", "w2"]], "w1, w2"),
        ([["a.w", "b.w"], ["c.v", "d.v"]], "a, b (w); c, d (v)"),
        ([["a.b.w", "c.w"]], "a.b, c (w)"),
    ],
)
def test_copies_are_told_by_what_holds_them(groups, told):
    (finding,) = copies_found(groups, {n: torch.ones(2, 2) for group in groups for n in group})
    assert finding.sentence.startswith(f"{told}: the same random values")
    assert finding.where == tuple(name for group in groups for name in group)


def test_biases_count_only_where_no_weight_tells_the_layers_apart():
    names = [[f"{layer}.{kind}" for layer in "ab"] for kind in ("weight", "bias")]
    tensors = {n: torch.ones(2, 2) if "weight" in n else torch.ones(2) for g in names for n in g}
    assert list(copies_found(names[1:], tensors)) == []
    assert list(copies_found([], tensors)) == []
    (both,) = copies_found(names, tensors)
    assert both.where == ("a.weight", "b.weight", "a.bias", "b.bias")
    (alone,) = copies_found(names[1:], {n: t for n, t in tensors.items() if t.dim() == 1})
    assert alone.where == ("a.bias", "b.bias")
