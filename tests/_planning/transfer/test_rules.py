"""The published factors, against the tables of the papers."""

import math

import pytest
import torch
from torch import nn

import isoinit
from isoinit._planning.transfer.rules import Rules
from isoinit.errors import ArgumentError

X = torch.zeros(3, 8)
M = 4.0


def mlp(width, between=None):
    between = width if between is None else between
    layers = [nn.Linear(8, width), nn.ReLU(), nn.Linear(width, between), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(between, 3))


def grown(optimizer="adamw", **options):
    return isoinit.transfer(
        mlp, base=16, target=64, batch=X, optimizer=optimizer, **options
    ).factors


# Yang et al. 2022, tables 3 and 8, without a multiplier of the output; the decay of microsoft/mup.
ADAM = {
    "0.weight": ("input weight", 1, 1, 1, 1 / M),
    "0.bias": ("bias", 1, 1, 1, 1 / M),
    "2.weight": ("hidden weight", M**-0.5, 1 / M, M, 1 / M),
    "2.bias": ("bias", 1, 1, 1, 1 / M),
    "4.weight": ("readout", 1 / M, 1 / M, M, 1),
    "4.bias": ("bias", 1, 1, 1, 1),
}
SGD = {
    "0.weight": ("input weight", 1, M, 1 / M, 1),
    "0.bias": ("bias", 1, M, 1 / M, 1),
    "2.weight": ("hidden weight", M**-0.5, 1, 1, 1),
    "2.bias": ("bias", 1, M, 1 / M, 1),
    "4.weight": ("readout", 1 / M, 1 / M, M, 1),
    "4.bias": ("bias", 1, 1, 1, 1),
}


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_width_follows_the_tables(optimizer):
    expected = SGD if optimizer == "sgd" else ADAM
    for name, factors in grown(optimizer).items():
        found = (factors.kind, factors.std, factors.lr, factors.decay, factors.eps)
        assert found[0] == expected[name][0]
        assert found[1:] == pytest.approx(expected[name][1:])
        assert factors.decays == ("weight" in name)
        assert factors.optimizer == optimizer


def test_decay_leaves_out_norms_of_several_axes():
    def images(width):
        return nn.Sequential(nn.Conv2d(3, width, 1), nn.LayerNorm((width, 4, 4)), nn.Flatten())

    t = isoinit.transfer(images, base=8, target=16, batch=torch.zeros(2, 3, 4, 4))
    assert [name for name, factors in t.factors.items() if factors.decays] == ["0.weight"]


@pytest.mark.parametrize(("decay", "factor"), [("mup", M), ("sqrt", M**0.5), ("constant", 1.0)])
def test_decay_is_a_choice(decay, factor):
    factors = grown(decay=decay)
    assert factors["2.weight"].decay == pytest.approx(factor)
    assert factors["4.weight"].decay == pytest.approx(factor)
    assert factors["0.weight"].decay == 1


def test_a_base_of_the_same_width_has_factors_of_one():
    t = isoinit.transfer(mlp(16), mlp(16), X)
    for factors in t.factors.values():
        assert (factors.std, factors.lr, factors.decay, factors.eps, factors.gauge) == (1,) * 5
    plain = isoinit.plan(mlp(16), X)
    assert [entry.initializer for entry in t.plan] == [entry.initializer for entry in plain]


def test_the_start_is_the_bases_times_its_factor():
    base, t = isoinit.plan(mlp(16), X), isoinit.transfer(mlp(16), mlp(64), X)
    for entry in t.plan:
        assert entry.std == pytest.approx(base[entry.name].std * t.factors[entry.name].std)
        assert type(entry.initializer) is type(base[entry.name].initializer)


def test_a_weight_that_makes_less_follows_the_spectral_condition():
    t = isoinit.transfer(mlp(16, 16), mlp(64, 32), X)
    factors = t.factors["2.weight"]
    assert factors.std == pytest.approx(M**-0.5 * math.sqrt(2 / M))
    assert factors.lr == 1 / M
    assert factors.eps == 1 / 2


def test_kernels_count_their_channels():
    def build(width):
        return nn.Sequential(
            nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU(),
            nn.Conv2d(width, width, 3, groups=width), nn.Flatten(), nn.Linear(width * 4, 3),
        )  # fmt: skip

    t = isoinit.transfer(build, base=8, target=32, batch=torch.zeros(2, 1, 8, 8))
    stem, middle, each, head = (t.factors[f"{at}.weight"] for at in (0, 2, 4, 6))
    assert (stem.std, stem.lr, stem.eps) == (1, 1, 1 / M)
    assert (middle.std, middle.lr, middle.eps) == (M**-0.5, 1 / M, 1 / M)
    assert (each.std, each.lr, each.eps) == (
        1,
        1,
        1 / M,
    )  # a kernel a channel: a vector to the width
    assert (head.std, head.lr, head.eps) == (1 / M, 1 / M, 1)


class Residual(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.first, self.last, self.norm = nn.Linear(8, 16), nn.Linear(16, 3), nn.LayerNorm(16)
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(blocks))
        self.up = nn.ModuleList(nn.Linear(16, 32) for _ in range(blocks))
        self.down = nn.ModuleList(nn.Linear(32, 16) for _ in range(blocks))

    def forward(self, x):
        x = self.first(x)
        for norm, up, down in zip(self.norms, self.up, self.down, strict=True):
            x = x + down(torch.nn.functional.gelu(up(norm(x))))
        return self.last(self.norm(x))


@pytest.mark.parametrize(
    ("optimizer", "depth", "inside", "end"),
    [
        # lr, decay and eps of what stands in a branch, and of its end with the gauge L^-α.
        ("adamw", "completep", (1, 1, 1 / M), (1 / M, M, 1)),
        ("adamw", "mup", (M**-0.5, 1, M**-0.5), (1 / M, M**0.5, 1)),
        ("adamw", None, (1, 1, 1), (1, 1, 1)),
        ("sgd", "completep", (M, 1 / M, 1), (1 / M, M, 1)),
        ("sgd", "mup", (1, M**-0.5, 1), (1 / M, M**0.5, 1)),
    ],
)
def test_depth_follows_the_tables(optimizer, depth, inside, end):
    t = isoinit.transfer(Residual(2), Residual(8), X, optimizer=optimizer, depth=depth)
    for name in ("norms.5.weight", "norms.0.bias", "up.3.weight", "up.7.bias"):
        f = t.factors[name]
        assert (f.lr, f.decay) == pytest.approx(inside[:2])
        if optimizer == "adamw":
            assert f.eps == pytest.approx(inside[2])
        assert f.std == 1
    for name in ("down.0.weight", "down.7.bias"):
        f = t.factors[name]
        assert (f.lr, f.decay) == pytest.approx(end[:2])
        if optimizer == "adamw":
            assert f.eps == pytest.approx(end[2])
    for name in ("first.weight", "norm.weight", "last.weight"):
        f = t.factors[name]
        assert (f.std, f.lr, f.decay, f.eps) == (1,) * 4


def test_a_norm_behind_the_sums_is_doubtful_by_depth():
    class PostNorm(Residual):
        def forward(self, x):
            x = self.first(x)
            for norm, up, down in zip(self.norms, self.up, self.down, strict=True):
                x = norm(x + down(torch.nn.functional.gelu(up(x))))
            return self.last(self.norm(x))

    t = isoinit.transfer(PostNorm(2), PostNorm(8), X)
    assert any("a norm layer stands behind the sums" in note for note in t.notes)
    assert isoinit.transfer(PostNorm(2), PostNorm(2), X).notes == ()


@pytest.mark.parametrize("optimizer", ["muon", "muon:match_rms_adamw"])
def test_muon_takes_hidden_matrices_and_undoes_its_own_factor(optimizer):
    t = isoinit.transfer(mlp(16, 32), mlp(64, 256), X, optimizer=optimizer)
    hidden = t.factors["2.weight"]
    # torch multiplies by sqrt(max(1, rows / columns)), or by 0.2 sqrt(max(rows, columns)).
    own = [
        math.sqrt(max(1, out / in_)) if optimizer == "muon" else math.sqrt(max(out, in_))
        for out, in_ in ((32, 16), (256, 64))
    ]
    lr = math.sqrt(8 / 4) / (own[1] / own[0])
    assert hidden.optimizer == "muon"
    assert hidden.lr == pytest.approx(lr)
    assert {f.optimizer for n, f in t.factors.items() if n != "2.weight"} == {"adamw"}
    same = isoinit.transfer(mlp(16), mlp(16), X, optimizer=optimizer)
    assert same.factors["2.weight"].optimizer == "muon"  # by its place: the base trains alike


@pytest.mark.parametrize(
    ("name", "why"), [("adafactor", "relative"), ("Lion", "not tested"), ("x", "")]
)
def test_other_optimizers_are_refused_with_the_reason(name, why):
    with pytest.raises(ArgumentError, match=rf"optimizer='{name}'.*{why}.*expected one of 'adamw'"):
        Rules(optimizer=name)


def test_unknown_options_are_refused():
    with pytest.raises(ArgumentError, match="decay='linear'"):
        Rules(decay="linear")
    with pytest.raises(ArgumentError, match="depth='deep'"):
        Rules(depth="deep")
