"""Multipliers in the forward, as the papers have them, and a plan's groups train alike, step by step.

One model has the papers' multipliers in its forward and their factors in its optimizer, all by hand
(tests/explicit). The other is the unmodified model with `Transfer.plan` and `Transfer.groups`.
"""

import itertools
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

import isoinit
from explicit import reference
from explicit.families import FAMILIES
from explicit.plain import PLAIN, SAID, STREAMS
from explicit.reference import Growth

# The largest difference of a loss: 1e-13 where all is float64. GPT-J's scores and the norms of Llama,
# Qwen3 and Gemma are computed in float32 whatever the model is in.
NEAR = 1e-6
ALL = FAMILIES | PLAIN
DEPTHS = {1.0: "completep", 0.5: "mup"}
KINDS = {"scores", "branches", "readout"}


class Pair:
    """The same model twice, unmodified and with multipliers, starting alike."""

    def __init__(
        self, family, blocks=(1, 1), widths=(16, 64), optimizer="adamw", alpha=1.0, **more
    ):
        """Take the blocks and widths of both, and what else `build` is told of the larger model."""
        if not more.get("tied", family.tied is not False):
            family = replace(family, multipliers=replace(family.multipliers, readout=None))
        self.family, self.optimizer = family, optimizer
        wider, deeper = widths[1] / widths[0], blocks[1] / blocks[0]
        self.grown = Growth(wider, deeper, wider * 2 / more.get("heads", 2), alpha)
        small = {**more, "heads": 2} if "heads" in more else more
        torch.manual_seed(0)
        self.base = family.build(widths[0], blocks[0], **small).double()
        self.model, self.explicit = (
            family.build(widths[1], blocks[1], **more).double() for _ in range(2)
        )
        self.transfer = isoinit.transfer(
            self.base, self.model, family.batch(0), optimizer=optimizer, depth=DEPTHS[alpha]
        )
        self.transfer.plan.apply(self.model, seed=1)
        self.explicit.load_state_dict(self.model.state_dict())
        with torch.no_grad():
            for name, parameter in self.explicit.named_parameters():
                gauge, shift = self.transfer.factors[name].gauge, self.shift(name)
                parameter.add_(shift).div_(gauge).sub_(shift)
        self.expected = reference.table(self.base, self.model, self.grown, optimizer, family.inside)

    def shift(self, name):
        """What the forward adds to a parameter: Gemma's gains are 1 + w."""
        return float(self.family.shifted is not None and name.endswith(self.family.shifted))

    def groups(self, **more):
        """The groups of the unmodified model, for all its optimizers."""
        kinds = ["adamw", "muon"] if self.optimizer == "muon" else [None]
        return [
            group
            for kind in kinds
            for group in self.transfer.groups(self.model, **more, optimizer=kind)
        ]

    def differ(self, steps=15, eps=1e-3, without=(), given=(), clip=None):
        """The largest difference of the loss in some steps.

        Args:
            steps, eps: of the training.
            without: the kinds of multipliers that are left out of the forward.
            given: those that stand in the forward of the other model as well.
            clip: the norm to which the gradients are clipped.
        """
        self.family.multipliers.install(self.explicit, self.grown, without)
        if given:
            self.family.multipliers.install(self.model, self.grown, KINDS - set(given))
        more = {"lr": 0.05 if self.optimizer == "sgd" else 1e-2, "weight_decay": 0.1, "eps": eps}
        more["decay_vectors"] = self.family.shifted is None  # decay draws w to 0, and not 1 + w
        theirs = reference.groups(self.explicit, self.expected, **more, optimizer=self.optimizer)
        ours = self.groups(**more)
        clips = [None, None]
        if clip:
            clips = [
                lambda model: nn.utils.clip_grad_norm_(model.parameters(), clip),
                lambda model: self.transfer.clip_grad_norm_(model, clip),
            ]
        first, second = (
            reference.train(
                model, self.family.loss, reference.optimizers(self.optimizer, groups), steps, by
            )
            for model, groups, by in zip(
                (self.explicit, self.model), (theirs, ours), clips, strict=True
            )
        )
        assert first[-1] < first[0]
        return max(abs(a - b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_width(name):
    pair = Pair(ALL[name])
    for key, factors in pair.transfer.factors.items():
        role, gauge = pair.expected[key], factors.gauge
        found = (
            factors.std / gauge,
            factors.lr / gauge,
            factors.decay * gauge,
            factors.eps * gauge,
        )
        assert found == pytest.approx((role.std, role.lr, role.decay, role.eps)), key
    assert pair.transfer.notes == ()
    assert pair.differ() < NEAR


@pytest.mark.parametrize("name", ["GPT-2", "Llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_width_and_depth(name, tied):
    assert Pair(ALL[name], (1, 2), tied=tied).differ() < NEAR


@pytest.mark.parametrize("name", ["T5", "Mixtral", "constants of its own"])
def test_depth(name):
    """What an encoder made is read by many blocks, experts add to a sum, branches are over N."""
    blocks = (2, 3) if name == "T5" else (1, 2)
    assert Pair(ALL[name], blocks, widths=(16, 16)).differ() < NEAR


@pytest.mark.parametrize(("optimizer", "alpha"), [("adam", 1.0), ("sgd", 0.5)])
def test_optimizers(optimizer, alpha):
    pair = Pair(ALL["GPT-2"], (1, 2), optimizer=optimizer, alpha=alpha)
    assert pair.differ() < NEAR


def test_muon():
    """Its steps are made in bfloat16, which powers of two leave as they are: 16 times the width."""
    pair = Pair(ALL["Llama"], widths=(8, 128), optimizer="muon")
    assert pair.differ(eps=1e-8) < NEAR


@pytest.mark.parametrize("norm", [1.0, 0.1])
def test_clipped(norm):
    assert Pair(ALL["GPT-2"], (1, 2)).differ(clip=norm) < NEAR


def test_more_heads_need_nothing():
    pair = Pair(ALL["Llama"], heads=8)
    assert {
        factors.gauge for name, factors in pair.transfer.factors.items() if "_proj" in name
    } == {1.0}
    assert pair.differ() < NEAR


def test_each_multiplier_is_seen():
    """Without one of the multipliers the losses differ: the comparison is able to fail."""
    pair = Pair(ALL["GPT-2"], (1, 2))
    for kind in KINDS:
        assert deepcopy(pair).differ(without=[kind]) > 1e4 * NEAR, kind


@pytest.mark.parametrize("name", SAID)
def test_what_a_forward_must_do_is_said(name):
    """Who puts the multiplier of the note into the forward has all of the transfer."""
    family, kind, times = SAID[name]
    pair = Pair(family)
    (note,) = pair.transfer.notes
    assert times in note
    assert pair.differ(given=[kind]) < NEAR


@pytest.mark.parametrize("name", STREAMS)
def test_a_smaller_stream_is_exact_with_a_smaller_eps(name):
    family, size = STREAMS[name]
    pair = Pair(family)
    (note,) = pair.transfer.notes
    assert f"×{size:g}" in note
    for norm in pair.model.norms:
        norm.eps *= size**2
    assert pair.differ() < NEAR


MATRIX = [
    *itertools.product(FAMILIES, ["adamw", "adam", "sgd"], ["width"], [1.0]),
    *itertools.product(FAMILIES, ["adamw", "sgd"], ["both"], DEPTHS),
    *itertools.product(["GPT-2", "Llama"], ["adamw", "sgd"], ["depth"], DEPTHS),
]
SIZES = {
    "width": {"blocks": (2, 2)},
    "depth": {"widths": (16, 16), "blocks": (2, 4)},
    "both": {"blocks": (2, 4)},
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "optimizer", "size", "alpha"), MATRIX)
def test_all(name, optimizer, size, alpha):
    family = ALL[name]
    if size == "both" and family.inside is None:
        pytest.skip("the factors for the depth are for norms before the branches")
    for tied in [{}] if family.tied is None else [{"tied": True}, {"tied": False}]:
        for eps in [1e-8] if optimizer == "sgd" else [1e-8, 1e-3]:
            pair = Pair(family, optimizer=optimizer, alpha=alpha, **SIZES[size], **tied)
            assert pair.differ(30, eps) < NEAR, (tied, eps)
