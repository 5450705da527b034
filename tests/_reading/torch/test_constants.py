"""What is known of constants, on real memory and without any."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from isoinit._reading.constants import MOST
from isoinit._reading.graph import ReplayError
from isoinit._reading.torch.constants import Constant
from isoinit._reading.torch.record import Recorder

MADE = {
    "zeros_like": (lambda x: torch.zeros_like(x), 0.0),
    "ones": (lambda x: torch.ones(3, 5), 1.0),
    "full": (lambda x: torch.full((4,), 0.1), 0.1),
    "new_full": (lambda x: x.new_full((4,), 2), 2.0),
    "float32": (lambda x: torch.tensor([0.3, 0.3]), 0.3),
    "sum of ones": (lambda x: torch.ones(4) + torch.ones(4), 2.0),
    "booleans": (lambda x: torch.arange(4) >= 0, True),
    "integers": (lambda x: torch.full((2,), 7), 7),
    "huge": (lambda x: torch.zeros(MOST + 1), 0.0),
    "expanded": (lambda x: torch.tensor(2.5).expand(6, 6), 2.5),
    "written": (lambda x: torch.zeros(4).fill_(3.0), 3.0),
    "written in part": (lambda x: _written(torch.ones(4)), [1, 1, 5, 5]),
    "arange": (lambda x: torch.arange(4), [0, 1, 2, 3]),
    "linspace": (lambda x: torch.linspace(0, 1, 3), [0, 0.5, 1]),
    "list": (lambda x: torch.tensor([1.0, 4.0]), [1, 4]),
    "function": (lambda x: torch.arange(3).float().exp().flip(0), np.exp([2, 1, 0])),
    "device": (lambda x: torch.arange(2, device=x.device), [0, 1]),
    "mask": (lambda x: torch.ones(2, 2).tril() == 0, [False, True, False, False]),
}


def _written(tensor):
    tensor[2:] = 5
    return tensor


def known(make, *, fake):
    recorder = Recorder({}, {})
    if not fake:
        x = torch.randn(2, 3)
        with recorder:
            made = make(x)
    else:
        with FakeTensorMode(allow_non_fake_inputs=True), recorder:
            made = make(torch.empty(2, 3))
    return recorder.known.constant(made)


@pytest.mark.parametrize("fake", [True, False])
@pytest.mark.parametrize("name", MADE)
def test_values_are_known_with_and_without_memory(name, fake):
    make, expected = MADE[name]
    found = known(make, fake=fake)
    if isinstance(expected, (bool, int, float)):
        assert found.number.item() == expected
        assert isinstance(found.number.item(), type(expected))
    else:
        assert found.number is None
        np.testing.assert_allclose(found.sampled, np.asarray(expected), rtol=1e-6)


@pytest.mark.parametrize("fake", [True, False])
def test_what_is_written_through_a_view_is_not_taken_for_what_was_there(fake):
    def make(x):
        table = torch.zeros(4, 4)
        table[0].fill_(1.0)
        return table

    found = known(make, fake=fake)
    if fake:
        with pytest.raises(ReplayError, match="not known"):
            _ = found.number
    else:
        assert found.number is None


@pytest.mark.parametrize(
    "make", [torch.randn_like, lambda x: torch.rand(3), lambda x: torch.zeros(3).normal_()]
)
def test_what_is_drawn_has_the_same_values_each_time_and_nothing_is_drawn_for_it(make):
    state = torch.get_rng_state()
    found = known(make, fake=True)
    assert torch.equal(found.values, known(make, fake=True).values)
    assert found.number is None
    mean, second = found.moments
    assert second - mean**2 == pytest.approx(1 if mean < 0.1 else 1 / 12, rel=1e-3)
    assert torch.equal(state, torch.get_rng_state())


def test_many_values_are_sampled_or_refused():
    few = Constant(torch.arange(100_000)).sampled
    assert len(few) == 4096
    assert few[0] == 0
    assert few[-1] > 90_000
    with pytest.raises(ReplayError, match="more than"):
        _ = Constant(torch.zeros(MOST + 1)).values


@pytest.mark.parametrize("count", [4100, 8191, 64 * 8 * 64])
def test_what_is_sampled_has_the_moments_of_the_whole(count):
    ramp = Constant(torch.linspace(0, 1, count)).sampled
    assert ramp.mean() == pytest.approx(1 / 2, rel=1e-3)
    assert ramp.var() == pytest.approx(1 / 12, rel=1e-3)


@pytest.mark.parametrize("rows", [128, 512, 520, 8000])
@pytest.mark.parametrize("columns", [2, 3, 8, 64])
def test_what_is_sampled_keeps_step_with_no_axis(rows, columns):
    """A mask of one column: a sample of equal steps would see all of it, or none."""
    mask = torch.zeros(rows * 64 // columns, columns)
    mask[:, 0] = 1
    share = 1 / columns
    chance = math.sqrt(share * (1 - share) / 4096)  # of as many places drawn at random
    assert Constant(mask).sampled.mean() == pytest.approx(share, abs=chance)


def test_a_buffer_that_is_moved_is_known_as_it_stands_then():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", torch.arange(6.0).reshape(2, 3))

        def forward(self, x):
            return self.table.t()[1]

    recorder, holder = Recorder({}, {}), Holder()
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = torch.empty(2, 3)
        recorder.mark_constant(fake, holder.table)
        with recorder:
            part = fake.t()[1]
    np.testing.assert_array_equal(recorder.known.constant(part).sampled, [1.0, 4.0])
