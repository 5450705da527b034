"""What scales and shifts another signal is found by what it does at zero, and gates are not."""

import pytest
import torch
from torch import nn

import isoinit


def mlp(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, 32), nn.ReLU(), nn.Linear(32, n_out))


class Chunked(nn.Module):
    """One network for scale and shift of an affine coupling (RealNVP)."""

    def __init__(self):
        super().__init__()
        self.net = mlp(2, 4)

    def forward(self, x):
        a, b = x.chunk(2, -1)
        scale, shift = self.net(a).chunk(2, -1)
        return torch.cat([a, self.coupled(b, scale, shift)], -1)

    def coupled(self, b, scale, shift):
        return b * torch.exp(torch.tanh(scale)) + shift


class Glow(Chunked):
    def coupled(self, b, scale, shift):
        return (b + shift) * torch.sigmoid(scale + 2)


class OnePlus(Chunked):
    def coupled(self, b, scale, shift):
        return b * (1 + scale) + shift


class Interleaved(Chunked):
    def forward(self, x):
        a, b = x[:, ::2], x[:, 1::2]
        made = self.net(a)
        return torch.cat([a, b * (2 * torch.tanh(made[:, ::2] / 2)).exp() + made[:, 1::2]], -1)


class Masked(nn.Module):
    """Two networks, behind masks."""

    def __init__(self):
        super().__init__()
        self.scale, self.shift = mlp(4, 4), mlp(4, 4)
        self.register_buffer("mask", torch.tensor([1.0, 0, 1, 0]))

    def forward(self, x):
        kept, free = x * self.mask, 1 - self.mask
        scale = torch.tanh(self.scale(kept)) * free
        return kept + free * (x * torch.exp(scale) + self.shift(kept) * free), scale.sum(-1)


class Inverse(Masked):
    def forward(self, x):
        return (x - self.shift(x * self.mask)) * torch.exp(-self.scale(x * self.mask))


class Deviation(nn.Module):
    """The encoder of a VAE."""

    def __init__(self):
        super().__init__()
        self.body, self.mean, self.log_variance = mlp(4, 16), nn.Linear(16, 4), nn.Linear(16, 4)

    def forward(self, x):
        hidden = torch.relu(self.body(x))
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        return mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance), mean, log_variance


class Policy(nn.Module):
    """A head for the mean of an action, and one for its deviation."""

    def __init__(self):
        super().__init__()
        self.body, self.mean, self.deviation = mlp(4, 16), nn.Linear(16, 2), nn.Linear(16, 2)

    def forward(self, x):
        hidden = torch.relu(self.body(x))
        return self.mean(hidden), torch.exp(self.deviation(hidden).clamp(-5, 2))


class Adaptive(nn.Module):
    """A block of a diffusion transformer: shift, scale and gate by a condition."""

    def __init__(self):
        super().__init__()
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(4, 96))
        self.norm = nn.LayerNorm(32, elementwise_affine=False)
        self.inner, self.branch, self.outer = nn.Linear(4, 32), mlp(32, 32), nn.Linear(32, 3)

    def forward(self, x):
        hidden = self.inner(x)
        shift, scale, gate = self.modulation(x).chunk(3, -1)
        made = self.branch(self.norm(hidden) * (1 + scale) + shift)
        return self.outer(hidden + gate * made)


class Points(nn.Module):
    """Places that move along their differences and along a velocity (Satorras et al. 2021)."""

    def __init__(self):
        super().__init__()
        self.pull, self.drift = mlp(1, 1), mlp(1, 1)

    def gathered(self, moved):
        return moved.sum(1) / moved.shape[1]

    def forward(self, x):
        place, speed = x[:, :2], x[:, 2:]
        for _ in range(1):
            apart = place[:, None] - place[None]
            pull = self.pull(apart.square().sum(-1, keepdim=True))
            place = place + self.gathered(apart * pull)
            place = place + self.drift(speed.norm(dim=1, keepdim=True)) * speed
        return place


class Edges(Points):
    """The same, gathered by the index of a node."""

    def gathered(self, moved):
        to = torch.arange(len(moved)).repeat_interleave(moved.shape[1])
        return torch.zeros(len(moved), 2).index_add(0, to, moved.flatten(0, 1))


class Messages(nn.Module):
    """What is gathered was made by weights: an attention of two layers, and no way that points go."""

    def __init__(self):
        super().__init__()
        self.score, self.value = nn.Linear(4, 1), nn.Linear(4, 4)

    def forward(self, x):
        return x + (self.score(x)[None] * self.value(x)[None]).mean(1)


class Padded(nn.Module):
    """A branch whose output is masked where there is padding."""

    def __init__(self):
        super().__init__()
        self.branch = mlp(4, 4)

    def forward(self, x):
        there = (x[:, :1] > -9).float()
        return x + self.branch(x) * there


class Gated(nn.Module):
    """Gated units, a squeeze, a highway, GELU and SiLU in steps: these choose, and do not scale."""

    def __init__(self):
        super().__init__()
        self.halves, self.up, self.beside = nn.Linear(4, 16), nn.Linear(8, 8), nn.Linear(8, 8)
        self.squeeze, self.carry, self.new = mlp(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.last = nn.Linear(8, 8)

    def forward(self, x):
        one, gate = self.halves(x).chunk(2, -1)
        x = one * torch.sigmoid(gate)
        x = self.up(x) * nn.functional.silu(self.beside(x))
        x = x * torch.sigmoid(self.squeeze(x.mean(0)))
        carry = torch.sigmoid(self.carry(x))
        x = carry * x + (1 - carry) * torch.tanh(self.new(x))
        x = self.last(x)
        return x * (1 + torch.erf(x / 2**0.5)) / 2


FOUND = {
    Chunked: ["net.2"],
    Glow: ["net.2"],
    OnePlus: ["net.2"],
    Interleaved: ["net.2"],
    Masked: ["scale.2", "shift.2"],
    Inverse: ["scale.2", "shift.2"],
    Deviation: ["log_variance"],
    Policy: ["deviation"],
    Adaptive: ["modulation.1"],
    Gated: [],
    Points: ["pull.2", "drift.2"],
    Edges: ["pull.2", "drift.2"],
    Messages: [],
    Padded: [],
}


@pytest.mark.parametrize("kind", FOUND, ids=lambda kind: kind.__name__)
def test_a_layer_that_scales_another_signal_starts_at_zero(kind):
    plan = isoinit.plan(kind(), torch.randn(6, 4))
    zero = [e.name for e in plan if isinstance(e.initializer, isoinit.Zeros)]
    assert [n for n in zero if n.endswith("weight")] == [f"{name}.weight" for name in FOUND[kind]]


@pytest.mark.parametrize("kind", [Chunked, Glow, OnePlus, Masked, Deviation, Adaptive, Points])
def test_a_model_with_such_a_layer_is_healthy_and_trains_all_of_it(kind):
    torch.manual_seed(0)
    model, x = kind(), torch.randn(64, 4)
    isoinit.init(model, x, seed=0)
    assert not [f for f in isoinit.check(model, x).findings if f.severity == "error"]
    optimizer, before = torch.optim.Adam(model.parameters(), 1e-2), None
    for _ in range(3):
        made = model(x)
        first = made[0] if isinstance(made, tuple) else made
        optimizer.zero_grad()
        (first - x.flip(0)[:, : first.shape[1]]).square().mean().backward()
        before = before or {n: p.detach().clone() for n, p in model.named_parameters()}
        optimizer.step()
    assert all(not torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_a_layer_of_which_only_a_part_scales_keeps_its_size():
    class Fused(Deviation):
        def __init__(self):
            super().__init__()
            self.body = mlp(4, 8)

        def forward(self, x):
            mean, log_variance = self.body(x).chunk(2, -1)
            return mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)

    assert isoinit.plan(Fused(), torch.randn(6, 4))["body.2.weight"].std > 0


def test_a_layer_of_a_loop_over_time_keeps_its_size():
    class Decaying(nn.Module):
        def __init__(self):
            super().__init__()
            self.decay, self.new = nn.Linear(4, 8), nn.Linear(4, 8)

        def forward(self, x):
            state = torch.zeros(x.shape[0], 8)
            for step in x.unbind(1):
                state = state * torch.exp(-nn.functional.softplus(self.decay(step) - 1))
                state = state + self.new(step)
            return state

    plan = isoinit.plan(Decaying(), torch.randn(6, 5, 4))
    assert plan["decay.weight"].std > 0
    assert plan["new.weight"].std > 0
