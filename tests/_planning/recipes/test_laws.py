"""`recipe="own"`: which law was drawn, from calls and from values, one parameter at a time."""

import pytest
import torch
from torch import nn

import isoinit
from isoinit import (
    Constant,
    GateBias,
    Identity,
    Normal,
    Orthogonal,
    TruncatedNormal,
    Uniform,
    Zeros,
)
from isoinit.errors import PlanError
from isoinit.initializers import Initializer


class Own(nn.Module):
    """A model of one parameter, whose own initialization is given."""

    def __init__(self, write, *shape):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))
        self.write = write

    @torch.no_grad()
    def init_weights(self):
        self.write(self.weight)

    def forward(self, x):
        return x @ self.weight


def forget_gate(weight):
    weight.zero_()
    weight[8:16].fill_(1.5)


def zero_but_one_row(weight):
    nn.init.normal_(weight, std=0.5)
    weight.data[3].zero_()


@pytest.mark.parametrize(
    ("write", "shape", "expected"),
    [
        (lambda w: nn.init.normal_(w, 1, 0.5), (40, 30), Normal(1.0, 0.5)),
        (lambda w: nn.init.normal_(w, std=0.5), (1,), Normal(0.0, 0.5)),
        (lambda w: nn.init.normal_(w, std=0.5), (), Normal(0.0, 0.5)),
        (lambda w: nn.init.normal_(w, std=0.5), (0, 3), Zeros()),
        (lambda w: w.normal_().mul_(0.25), (40, 30), Normal(0.0, 0.25)),
        (lambda w: w.data.uniform_(-1, 1).div_(-4).add_(1), (40, 30), Uniform(0.75, 1.25)),
        (lambda w: nn.init.trunc_normal_(w, std=0.02), (40, 30), Normal(std=0.02)),
        (
            lambda w: nn.init.trunc_normal_(w, std=0.02, a=-0.04, b=0.04),
            (40, 30),
            TruncatedNormal(std=0.02),
        ),
        (lambda w: nn.init.orthogonal_(w, 2), (40, 30), Orthogonal(2.0)),
        (lambda w: nn.init.orthogonal_(w, 2).mul_(0.5), (40, 30), Orthogonal(1.0)),
        (lambda w: w.copy_(nn.init.orthogonal_(torch.empty(40, 30))), (40, 30), Orthogonal()),
        (lambda w: nn.init.kaiming_normal_(w, mode="fan_out"), (50, 9), Normal(std=0.2)),
        (nn.init.eye_, (6, 6), Identity()),
        (lambda w: w.fill_(0.1), (4,), Constant(0.1)),
        (forget_gate, (32,), GateBias(1.5)),
        (zero_but_one_row, (40, 30), Normal(std=0.5)),
        # values alone
        (lambda w: w.copy_(torch.randn(400, 300) * 0.3), (400, 300), Normal(std=0.3)),
        (lambda w: w.copy_(torch.rand(40, 300) * 2 - 1), (40, 300), Uniform(-1.0, 1.0)),
        (
            lambda w: w.copy_(nn.init.trunc_normal_(torch.empty(400, 300), std=0.3, a=-0.6, b=0.6)),
            (400, 300),
            TruncatedNormal(std=0.3),
        ),
        # what none of ours draws
        (lambda w: w.copy_(torch.arange(12.0)), (12,), None),
        (lambda w: w.copy_(torch.randn(40, 1)), (40, 300), None),
        (lambda w: w.normal_().clamp_(-1, 1), (40, 300), None),
        (lambda w: w.exponential_(), (40, 300), None),
        (lambda w: nn.init.sparse_(w, 0.5), (40, 300), None),
        (lambda w: w[:2].normal_(), (4, 3), None),
        (lambda w: w.mul_(0.5), (4, 3), None),
        (lambda w: None, (4, 3), None),
    ],
)
def test_what_was_drawn(write, shape, expected):
    entry = isoinit.plan(Own(write, *shape), recipe="own")["weight"]
    found = entry.initializer
    close = {"rel": 0.02} if "estimated" in entry.reason else {"rel": 1e-6}
    assert type(found) is type(expected), entry.reason
    if isinstance(found, Initializer):
        for a, b in zip(vars(found).values(), vars(expected).values(), strict=True):
            assert a == pytest.approx(b, **close, abs=1e-9), entry.reason
    else:
        assert "its own initialization" in entry.warning
        assert "'weight'" in entry.warning


def scaled_and_padded(weight):
    nn.init.normal_(weight, std=0.5)
    weight.mul_(0.5)
    weight[2999].zero_()


def test_of_a_large_table_some_rows_are_enough():
    """The row for padding lies beyond the first million elements."""
    entry = isoinit.plan(Own(scaled_and_padded, 3000, 1000), recipe="own")["weight"]
    assert entry.initializer == Normal(std=0.25)
    assert entry.layout.padding == 2999


def test_a_name_is_not_trusted(monkeypatch):
    """A fill that says one thing and does another is known by its values."""

    def normal_(tensor, mean=0.0, std=1.0):
        return torch.Tensor.uniform_(tensor, -1, 1)

    monkeypatch.setattr(torch.Tensor, "normal_", normal_)
    write = lambda w: w.copy_(torch.empty(40, 300).normal_(std=0.02))  # noqa: E731
    found = isoinit.plan(Own(write, 40, 300), recipe="own")["weight"].initializer
    assert isinstance(found, Uniform)


def test_values_of_short_types():
    model = Own(lambda w: w.copy_(torch.randn(400, 300) * 0.3), 400, 300).bfloat16()
    found = isoinit.plan(model, recipe="own")["weight"].initializer
    assert isinstance(found, Normal)
    assert found.std == pytest.approx(0.3, rel=0.02)


def fails(weight):
    raise RuntimeError("no such file")


def test_a_failing_initialization():
    model = Own(fails, 4, 3)
    with pytest.raises(PlanError, match=r"own init_weights failed: RuntimeError: no such file"):
        isoinit.plan(model, recipe="own")
    assert not model.weight.any()
    assert not model.weight.isnan().any()
