"""The operation that first made a NaN or an infinity."""

import math
import warnings

import pytest
import torch
from torch import nn

import isoinit


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Net(nn.Module):
    def __init__(self, middle):
        super().__init__()
        self.a, self.b, self.middle = nn.Linear(8, 8), nn.Linear(8, 4), middle

    def forward(self, x):
        return self.b(self.middle(self.a(x)))


def found(model, batch, **more):
    health = isoinit.check(model, batch, **more)
    assert not health.ok
    return next(f for f in health.findings if f.name == "not finite")


@pytest.mark.parametrize(
    ("middle", "op", "what"),
    [
        (lambda h: torch.log(h), "log", "NaN"),
        (lambda h: torch.sqrt(h), "sqrt", "NaN"),
        (lambda h: h / (h - h), "div", "infinity"),
        (lambda h: torch.exp(1e4 * h.abs()), "exp", "infinity"),
    ],
)
def test_forward(middle, op, what):
    finding = found(Net(middle), normal(16, 8))
    assert finding.where == ("a",)
    assert finding.sentence.startswith(f"{op} at a (")
    assert f"makes the first {what} in the forward pass" in finding.sentence
    assert "test_nonfinite.py:" in finding.sentence  # the line that called it


def test_a_mask_of_minus_infinity_is_no_trouble():
    def masked(h):
        scores = h.masked_fill(torch.arange(8) > 3, -math.inf)
        return scores.softmax(-1)

    assert "not finite" not in {f.name for f in isoinit.check(Net(masked), normal(16, 8)).findings}


@pytest.mark.parametrize(
    "middle",
    [
        lambda h: torch.log(torch.relu(h)),
        lambda h: h / (h - h),
        lambda h: torch.exp(1e4 * h.abs()),
    ],
)
def test_numpy_warns_of_nothing(middle):
    """Values that are not finite are what is looked for; the findings tell them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found(Net(middle), normal(16, 8))


def test_a_row_that_is_masked_whole():
    def masked(h):
        return h.masked_fill(torch.ones(8, dtype=torch.bool), -math.inf).softmax(-1)

    assert found(Net(masked), normal(16, 8)).sentence.startswith("softmax at a")


def test_backward():
    finding = found(Net(lambda h: (0 * h).sqrt()), normal(16, 8))  # its slope at 0 is infinite
    assert finding.where == ("a",)
    assert "in the backward pass" in finding.sentence
    assert finding.sentence.startswith("sqrt at a")


def test_the_batch_itself():
    batch = normal(16, 8)
    batch[3, 2] = math.nan
    assert "the batch holds NaN" in found(Net(torch.relu), batch).sentence


def test_a_loss_that_is_nan():
    health = isoinit.check(Net(torch.relu), normal(16, 8), loss=lambda y: (y - y).mean() / 0)
    assert {"loss not finite"} <= {f.name for f in health.findings}
    assert not health.ok


@pytest.mark.parametrize(
    "middle",
    [
        lambda h: torch.log(torch.relu(h)),
        lambda h: h / (h - h),
        lambda h: (0 * h).sqrt(),
        lambda h: h.masked_fill(torch.ones(8, dtype=torch.bool), -math.inf).softmax(-1),
    ],
)
def test_no_plan_is_promised_where_other_weights_would_not_help(middle):
    """Both layers are a third of what a plan makes them, and that is not why."""
    model, batch = Net(middle), normal(16, 8)
    assert "isoinit.init" not in str(found(model, batch))
    isoinit.init(model, batch, seed=0)
    assert "isoinit.init" not in str(found(model, batch))


def test_weights_so_large_that_numbers_overflow_are_named_from_the_first():
    """What is advised mends it: no weight of the chain is left as large as it was."""
    layers = [layer for _ in range(12) for layer in (nn.Linear(64, 64), nn.ReLU())]
    model, batch = nn.Sequential(*layers).half(), normal(8, 64).half()
    for weight in model.parameters():
        nn.init.normal_(weight, std=2.0)
    finding = found(model, batch)
    assert "in the forward pass" in finding.sentence
    assert "weights are off: isoinit.init(model, batch)" in str(finding)
    isoinit.init(model, batch, seed=0)
    assert "not finite" not in {f.name for f in isoinit.check(model, batch).findings}


def test_a_parameter_that_holds_nan_is_to_be_filled():
    model, batch = Net(torch.relu), normal(16, 8)
    model.b.weight.data.fill_(math.nan)
    findings = [f for f in isoinit.check(model, batch).findings if f.name == "not finite"]
    assert len(findings) == 2
    assert all("initialize them" in str(f) and "only=" not in str(f) for f in findings)
