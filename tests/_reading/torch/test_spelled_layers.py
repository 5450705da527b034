"""Layers that are written out in steps, in spellings that other libraries use."""

import pytest
import torch
from torch import nn

import isoinit


class Recurrent(nn.Module):
    """A loop over time; its kernels are (in, gates·units), its bias is added for all steps at once."""

    def __init__(self, gates, rehearsed=False):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(8, gates * 16))
        self.recurrent = nn.Parameter(torch.randn(16, gates * 16))
        self.bias = nn.Parameter(torch.zeros(gates * 16))
        self.out = nn.Linear(16, 4)
        self.gates, self.rehearsed = gates, rehearsed

    def step(self, x, h, c):
        z = x + h @ self.recurrent
        if self.gates == 1:
            return torch.tanh(z), c
        i, f, g, o = (part.to(z.dtype) for part in torch.chunk(z, 4, 1))
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def forward(self, x):
        fed = x @ self.kernel + self.bias
        h = c = torch.zeros(x.shape[0], 16)
        if self.rehearsed:
            self.step(fed[:, 0], h, c)  # to learn the shape of a state
        for t in range(x.shape[1]):
            h, c = self.step(fed[:, t], h, c)
        return self.out(h)


STEPS = torch.randn(4, 6, 8)


def test_a_forget_gate_whose_bias_is_added_for_all_steps_at_once():
    plan = isoinit.plan(Recurrent(4), STEPS, keep="nothing")
    assert plan["recurrent"].role == "recurrent weight"
    assert plan["recurrent"].layout.maps_shape == (4, 16, 16, 1)
    model = Recurrent(4)
    plan.apply(model, seed=0)
    assert model.bias.reshape(4, 16).mean(1).tolist() == [0, 1, 0, 0]  # Jozefowicz et al. 2015
    for gate in model.recurrent.detach().reshape(16, 4, 16).unbind(1):
        torch.testing.assert_close(gate @ gate.T, torch.eye(16), atol=1e-5, rtol=0)


@pytest.mark.parametrize("gates", [1, 4])
def test_what_a_loop_from_a_state_of_zeros_gives_is_known(gates):
    """The first step multiplies zeros. What the last layer gives is compared with runs."""
    model, batch, found = Recurrent(gates), torch.randn(256, 6, 8), []
    plan = isoinit.plan(model, batch, keep="nothing")
    assert "measured" not in plan["out.weight"].reason
    for seed in range(8):
        plan.apply(model, seed=seed)
        found.append(model(batch).square().mean().item())
    assert (sum(found) / 8) ** 0.5 == pytest.approx(plan["out.weight"].expected, rel=0.2)


def test_a_loop_that_makes_one_step_for_its_shape_and_begins_anew():
    plan = isoinit.plan(Recurrent(1, rehearsed=True), STEPS, keep="nothing")
    assert plan["recurrent"].role == "recurrent weight"
    assert plan["recurrent"].layout.maps_shape == (1, 16, 16, 1)


class Heads(nn.Module):
    """A projection to (heads, width), with a bias of that shape: nothing tells places apart."""

    def __init__(self):
        super().__init__()
        self.up = nn.Parameter(torch.randn(8, 4, 6))
        self.bias = nn.Parameter(torch.zeros(4, 6))
        self.down = nn.Parameter(torch.randn(4, 6, 8))
        self.places = nn.Parameter(torch.randn(5, 8))

    def forward(self, x):
        heads = torch.einsum("bti,ihd->bthd", x + self.places, self.up).to(x.dtype) + self.bias
        return torch.einsum("bthd,hdo->bto", torch.relu(heads), self.down)


def test_a_bias_with_the_shape_of_the_outputs_is_no_table_of_places():
    plan = isoinit.plan(Heads(), torch.randn(3, 5, 8), keep="nothing")
    assert plan["bias"].role == "bias"
    assert plan["bias"].initializer == isoinit.Zeros()
    assert plan["places"].role == "position"


def moments(x, axes):
    """Keras's: E[x²] - E[x]², squeezed; they get their axes back where they meet the signal."""
    mean, square = x.mean(axes, keepdim=True), x.square().mean(axes, keepdim=True)
    return mean.squeeze(axes), (square - mean.square()).squeeze(axes)


class Norm(nn.Module):
    """A norm layer in steps, whose scale multiplies the inverse deviation."""

    def __init__(self, spelling):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))
        self.spelling = spelling

    def forward(self, x):
        return self.spelling(x, self.scale, self.shift)


def batch_norm(x, scale, shift):
    mean, variance = (each.reshape(1, 1, 1, 8) for each in moments(x, (0, 1, 2)))
    return x.subtract(mean).mul_(variance.add(1e-3).rsqrt_().mul(scale)).add_(shift)


def folded(x, scale, shift):
    """x·a + (b - mean·a), as group norm has it in one pass, here over groups of four units."""
    x, shape = x.unflatten(-1, (2, 4)), (1, 1, 1, 2, 4)
    mean = x.mean((1, 2, 4), keepdim=True)
    variance = x.square().mean((1, 2, 4), keepdim=True) - mean.square()
    inverse = torch.rsqrt(variance + 1e-3) * scale.reshape(shape)
    return (x * inverse + (-mean * inverse + shift.reshape(shape))).flatten(-2)


def plain(x, scale, shift):
    flat = x.flatten(0, 2)
    mean, variance = flat.mean(0), flat.var(0)
    return ((flat - mean) * (torch.rsqrt(variance + 1e-3) * scale) + shift).reshape(x.shape)


class Block(nn.Module):
    """A convolution on images with their channels last, a norm layer, ReLU; the second on a branch."""

    def __init__(self, spelling):
        super().__init__()
        kernels = [nn.Parameter(torch.randn(3, 3, n, 8)) for n in (3, 8, 8)]
        self.kernels, self.out = nn.ParameterList(kernels), nn.Linear(8, 2)
        self.norms = nn.ModuleList(Norm(spelling) for _ in range(3))

    def layer(self, place, x):
        x, kernel = x.permute(0, 3, 1, 2), self.kernels[place].permute(3, 2, 0, 1)
        x = nn.functional.conv2d(x, kernel, padding=1).permute(0, 2, 3, 1)
        return self.norms[place](x)

    def forward(self, x):
        x = torch.relu(self.layer(0, x))
        x = x + self.layer(2, torch.relu(self.layer(1, x)))
        return self.out(torch.relu(x).mean((1, 2)))


class Twin(nn.Module):
    """The same of torch's own layers."""

    def __init__(self, norm):
        super().__init__()
        convs = [nn.Conv2d(n, 8, 3, padding=1, bias=False) for n in (3, 8, 8)]
        self.convs, self.out = nn.ModuleList(convs), nn.Linear(8, 2)
        self.norms = nn.ModuleList(norm() for _ in range(3))

    def forward(self, x):
        x = torch.relu(self.norms[0](self.convs[0](x)))
        x = x + self.norms[2](self.convs[2](torch.relu(self.norms[1](self.convs[1](x)))))
        return self.out(torch.relu(x).mean((2, 3)))


@pytest.mark.parametrize(
    ("spelling", "own"),
    [
        (batch_norm, lambda: nn.BatchNorm2d(8)),
        (plain, lambda: nn.BatchNorm2d(8)),
        (folded, lambda: nn.GroupNorm(2, 8)),
    ],
)
def test_norm_layers_whose_scale_multiplies_the_inverse_deviation(spelling, own):
    """Weights, scales and shifts get what they get beside torch's own layers."""
    image = torch.randn(4, 10, 10, 3)
    plan = isoinit.plan(Block(spelling), image, keep="nothing")
    twin = isoinit.plan(Twin(own), image.permute(0, 3, 1, 2), keep="nothing")
    for place in range(3):
        ours, theirs = plan[f"kernels.{place}"], twin[f"convs.{place}.weight"]
        assert ours.role == theirs.role
        assert ours.std == pytest.approx(theirs.std, rel=0.1)
        for name, other in (("scale", "weight"), ("shift", "bias")):
            ours, theirs = plan[f"norms.{place}.{name}"], twin[f"norms.{place}.{other}"]
            assert (ours.role, ours.initializer) == (theirs.role, theirs.initializer)
    # The branch ends in a scale of zero: what follows reads its skip alone. Behind groups that are
    # taken apart the signal is not followed but measured.
    if spelling is not folded:
        assert plan["out.weight"].std == pytest.approx(twin["out.weight"].std, rel=0.01)
