"""A product with a parameter that is summed over features is a weight of that fan-in."""

import pytest
import torch
from torch import nn

import isoinit
from isoinit._reading.torch import trace


class Scores(nn.Module):
    """Four heads of 32 features, and a parameter that makes scores of them."""

    def __init__(self, use, *shape):
        super().__init__()
        self.h, self.a, self.use = nn.Linear(16, 128), nn.Parameter(torch.randn(shape)), use

    def forward(self, x):
        return self.use(self.h(x).view(-1, 4, 32), self.a)


WEIGHTS = {
    "a head each": (lambda h, a: (h * a).sum(-1), (1, 4, 32), 32),
    "kept axis": (lambda h, a: (h * a).sum(dim=-1, keepdim=True), (4, 32), 32),
    "torch.sum": (lambda h, a: torch.sum(a * h, 2), (4, 32), 32),
    "behind leaky ReLU": (
        lambda h, a: (nn.functional.leaky_relu(h, 0.2) * a).sum(-1),
        (1, 4, 32),
        32,
    ),
    "shared": (lambda h, a: (h * a).sum(-1), (32,), 32),
    "several outputs": (lambda h, a: (h[:, :, None] * a).sum(-1), (5, 32), 32),
    "heads too": (lambda h, a: (h * a).sum((1, 2)), (4, 32), 128),
    "unsqueezed": (lambda h, a: (h * a[None]).sum(-1), (4, 32), 32),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_it_is_a_weight(name):
    use, shape, fan_in = WEIGHTS[name]
    model, x = Scores(use, *shape), torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    entry = isoinit.plan(model, x)["a"]
    size = 0.25 if name in ("shared", "heads too") else 1.0  # an output of one number at each place
    assert entry.role.startswith("weight")
    assert entry.fan_in == fan_in
    if "ReLU" not in name:
        assert entry.std == pytest.approx(size * fan_in**-0.5)
    # 32 weights: a mean square within 4 · sqrt(2/32) of its own, once in 16,000 not
    isoinit.init(model, x, seed=0)
    assert model(x).square().mean().item() == pytest.approx(size**2, rel=1.0)


def test_a_scaled_one_has_its_std_behind_the_scale():
    plan = isoinit.plan(Scores(lambda h, a: (h * (a * 0.1)).sum(-1), 4, 32), torch.randn(3, 16))
    assert plan["a"].std == pytest.approx(10 * 32**-0.5)


@pytest.mark.parametrize(
    ("use", "shape"),
    [
        (
            lambda h, a: (h * a).mean(1),
            (32,),
        ),  # summed over heads alone, which it does not tell apart
        (lambda h, a: h * a, (32,)),
        (lambda h, a: (p := h * a) + p.sum(-1, keepdim=True), (32,)),  # read by others too
        (lambda h, a: (torch.stack([h, h.tanh()]) * a).sum(0), (2, 1, 1, 1)),  # mixes layers
    ],
    ids=["other axis", "not summed", "read twice", "a stack of layers"],
)
def test_it_stays_a_scale(use, shape):
    assert isoinit.plan(Scores(use, *shape), torch.randn(3, 16))["a"].role == "scale"


def test_the_sum_is_the_layer():
    graph = trace(Scores(WEIGHTS["a head each"][0], 1, 4, 32), torch.randn(3, 16))
    op, _ = graph.uses_of("a")[0]
    assert (op.name, op.kind, graph.sizes[op.outputs[0]]) == ("sum", "map", (3, 4))
