"""Multipliers in the forward, as the papers have them, and a plan's groups train alike, step by step.

One model has the papers' multipliers in its forward and their factors in its optimizer, all by hand
(tests/explicit). The other is the unmodified model with `Transfer.plan` and `Transfer.groups`.
"""

import itertools
from dataclasses import replace

import pytest
import torch

import isoinit
from explicit import reference
from explicit.families import FAMILIES
from explicit.plain import PLAIN, SAID
from explicit.reference import Growth

NEAR = 1e-7  # the largest difference of a loss; in float64 most are 1e-15
ALL = FAMILIES | PLAIN
DEPTHS = {1.0: "completep", 0.5: "mup"}
KINDS = {"scores", "branches", "readout"}


def untied(family):
    return replace(family, multipliers=replace(family.multipliers, readout=None))


class Pair:
    """The same model twice, unmodified and with multipliers, starting alike."""

    def __init__(
        self, family, blocks=(2, 2), widths=(16, 64), optimizer="adamw", alpha=1.0, heads=2, **more
    ):
        """Take the blocks, widths and settings; `heads` are those of the larger model."""
        self.family, self.optimizer = family, optimizer
        wider, deeper = widths[1] / widths[0], blocks[1] / blocks[0]
        self.grown = Growth(wider, deeper, wider * 2 / heads, alpha)
        if heads != 2:
            more = {"heads": heads, **more}
        torch.manual_seed(0)
        small = {**more, "heads": 2} if "heads" in more else more
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

    def differ(self, steps=15, eps=1e-3, without=(), given=()):
        """The largest difference of the loss in some steps.

        Args:
            steps, eps: of the training.
            without: the kinds of multipliers that are left out of the forward.
            given: those that stand in the forward of the other model as well.
        """
        self.family.multipliers.install(self.explicit, self.grown, without)
        if given:
            self.family.multipliers.install(self.model, self.grown, KINDS - set(given))
        more = {"lr": 0.05 if self.optimizer == "sgd" else 1e-2, "weight_decay": 0.1, "eps": eps}
        theirs = reference.groups(self.explicit, self.expected, **more)
        ours = self.transfer.groups(self.model, **more, decay_vectors=True)
        first, second = (
            reference.train(model, self.family.loss, groups, self.optimizer, steps)
            for model, groups in ((self.explicit, theirs), (self.model, ours))
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
    family = ALL[name] if tied else untied(ALL[name])
    assert Pair(family, (2, 4), tied=tied).differ() < NEAR


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("alpha", DEPTHS)
def test_optimizers(optimizer, alpha):
    pair = Pair(ALL["GPT-2"], (2, 4), optimizer=optimizer, alpha=alpha)
    assert pair.differ() < NEAR


def test_more_heads_need_nothing():
    pair = Pair(ALL["Llama"], heads=8)
    assert {
        factors.gauge for name, factors in pair.transfer.factors.items() if "_proj" in name
    } == {1.0}
    assert pair.differ() < NEAR


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_multiplier_is_seen(kind):
    """Without one of the multipliers the losses differ: the comparison is able to fail."""
    assert Pair(ALL["GPT-2"], (2, 4)).differ(without=[kind]) > 1e4 * NEAR


@pytest.mark.parametrize("name", SAID)
def test_what_a_forward_must_do_is_said(name):
    """Who puts the multiplier of the note into the forward has all of the transfer."""
    pair = Pair(SAID[name])
    (note,) = pair.transfer.notes
    kind, times = ("readout", "0.25") if name.startswith("tied") else ("scores", "0.5")
    assert times in note
    assert pair.differ(given=[kind]) < NEAR


MATRIX = [
    *itertools.product(FAMILIES, [True, False], ["adamw", "adam", "sgd"], ["width"]),
    *itertools.product(["GPT-2", "Llama"], [True, False], ["adamw", "sgd"], ["depth", "both"]),
]
SIZES = {
    "width": {},
    "depth": {"widths": (16, 16), "blocks": (2, 4)},
    "both": {"blocks": (2, 4)},
}


@pytest.mark.slow
@pytest.mark.parametrize("eps", [1e-8, 1e-3])
@pytest.mark.parametrize(("name", "tied", "optimizer", "size"), MATRIX)
def test_all(name, tied, optimizer, size, eps):
    if name == "ViT" or (optimizer == "sgd" and eps == 1e-3):
        pytest.skip("the same as another")
    family = ALL[name] if tied else untied(ALL[name])
    for alpha in DEPTHS if size != "width" else [1.0]:
        pair = Pair(family, optimizer=optimizer, alpha=alpha, tied=tied, **SIZES[size])
        assert pair.transfer.notes == ()
        assert pair.differ(30, eps) < NEAR
