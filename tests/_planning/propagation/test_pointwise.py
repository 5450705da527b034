"""Functions of single elements and constant tensors, against closed forms: E[f²] for unit signals."""

import math

import pytest
import torch
from torch import nn

import isoinit
from unit_signal import second

TABLE = torch.linspace(0.5, 2.5, 64)  # E[t] = 1.5, E[t²] = 2.25 + 4/12 · 65/63
HALF = torch.arange(64) % 2 == 0
SQUARE = TABLE.double().square().mean().item()
# A standard normal a lies in k ≤ 5·abs(a) < k + 1 with probability erf((k + 1)/5√2) - erf(k/5√2).
BINS = torch.erf(torch.arange(65).double() / 5 / math.sqrt(2)).diff()
PICKED = (TABLE.double().square() * BINS).sum().item()


def written_beside(a, b):
    """The first half of a is written over by b."""
    y = a.clone()
    y[HALF.expand_as(y)] = 3.0
    return y


def twice_in_place(a, _):
    y = a.clone()
    view = y.flatten()
    view.mul_(2)
    return y


def twice_in_data(a, _):
    y = a.clone()
    y.data.mul_(2)
    return y


def looked_at_before(a, _):
    y = a.clone()
    rest = y[..., :]
    y.mul_(3)
    return rest


# Half the mean of the square of max(z, t), z standard normal: by quadrature over z, for each t.
Z = torch.linspace(-9, 9, 20001, dtype=torch.float64)
DENSITY = torch.exp(-Z * Z / 2) / math.sqrt(2 * math.pi) * (Z[1] - Z[0])
LARGER = (torch.maximum(Z, TABLE.double()[:, None]).square() * DENSITY).sum(1).mean().item()

FORMS = {
    "a cast mask": (lambda a, _: (a > 0).float(), 1 / 2),
    "one minus a mask": (lambda a, _: 1 - (a > 0).to(a.dtype), 1 / 2),
    "a mask counts": (lambda a, _: (a > 0).int() + (a > 0).int() * 1.0, 2.0),
    "a gated mask": (lambda a, b: a * (b > 0), 1 / 2),
    "sign": (lambda a, _: torch.where(a > 0, 1.0, -1.0), 1.0),
    "masked_fill by the signal": (lambda a, b: a.masked_fill(b > 0, 2.0), 1 / 2 + 4 / 2),
    "where of two signals": (lambda a, b: torch.where(a > 0, 2 * a, b), 4 / 2 + 1 / 2),
    "times zeros, plus": (lambda a, b: a * torch.zeros_like(a) + b, 1.0),
    "ones": (lambda a, _: a + torch.ones(8, 64), 2.0),
    "full": (lambda a, _: a * torch.full((64,), 3.0), 9.0),
    "times a table": (lambda a, _: a * TABLE, SQUARE),
    "over a table": (lambda a, _: a / TABLE, (1 / TABLE.double()).square().mean().item()),
    "a table made on the way": (lambda a, _: a * torch.linspace(0.5, 2.5, 64), SQUARE),
    "of a table and itself": (lambda a, _: torch.maximum(a, TABLE), LARGER),
    "clamped from a table on": (lambda a, _: torch.clamp(a, min=TABLE), LARGER),
    "by a constant mask": (lambda a, b: torch.where(HALF, 3 * a, b), 9 / 2 + 1 / 2),
    "where a constant mask is": (lambda a, _: torch.where(HALF, a, 0.0), 1 / 2),
    "written where a mask is": (written_beside, 9 / 2 + 1 / 2),
    "the larger of a stack": (lambda a, _: torch.stack([a, -a]).amax(0), 1.0),
    "the largest of a stack": (
        lambda a, _: torch.stack([a, torch.full_like(a, 9.0)], -1).max(-1)[0], 81.0,
    ),
    "the larger of two": (lambda a, b: torch.stack([a, b], 1).amax(1), 1.0),
    "picked from a table": (lambda a, _: TABLE[(a.abs() * 5).long().clamp(max=63)], PICKED),
    "times what is picked": (lambda a, b: b * TABLE[(a.abs() * 5).long().clamp(max=63)], PICKED),
    "the mean of a stack": (lambda a, b: torch.stack([a, b, a, a]).mean(0), (9 + 1) / 16),
    "the sum of a stack": (lambda a, b: torch.stack([a, 2 * a, b], 2).sum(2), 10.0),
    "through .data": (twice_in_data, 4.0),
    "through a view": (twice_in_place, 4.0),
    "into what a view looks at": (looked_at_before, 9.0),
    "with out": (lambda a, b: torch.add(a, b, out=torch.empty_like(a)), 2.0),
    "a constant as large as another": (lambda a, b: a * torch.tensor(2.0).expand_as(b), 4.0),
    "a constant of another's type": (lambda a, b: a + torch.ones(1).type_as(b), 2.0),
    "by copy": (lambda a, b: torch.empty_like(a).copy_(a).add_(b), 2.0),
    "addcmul": (lambda a, b: torch.addcmul(a, a, b), 1 + 1),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_closed_forms(name):
    function, expected = FORMS[name]
    assert second(function) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    "mask", [lambda s: s.masked_fill(LATER, -1e9), lambda s: torch.where(LATER, -1e9, s)]
)
def test_a_mask_on_scores_is_no_part_of_their_size(mask):
    def attention(a, b):
        return torch.softmax(mask(0 * a @ a.transpose(-1, -2)), -1) @ b

    # The i-th place averages over i places. What a is multiplied with is a itself: it is measured.
    assert second(attention) == pytest.approx(sum(1 / i for i in range(1, 9)) / 8, rel=0.05)


LATER = torch.arange(8)[:, None] < torch.arange(8)


def test_a_mask_of_the_example_is_left_out():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 8)

        def forward(self, x, mask):
            return self.b(self.a(x).masked_fill(~mask.bool(), 0.0))

    torch.manual_seed(0)
    x = torch.randn(4, 64)
    plans = [isoinit.plan(Masked(), (x, m)) for m in (torch.ones(4, 64), torch.ones(4, 64).long())]
    assert all(plan["b.weight"].std == pytest.approx(1 / 8) for plan in plans[1:])


def test_pairs_of_places_are_two_signals():
    def apart(a, _):
        return (a.unsqueeze(2) - a.unsqueeze(1))[:, 0]

    assert second(apart) == pytest.approx(2.0, rel=0.03)
