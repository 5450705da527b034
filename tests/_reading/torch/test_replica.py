"""A copy of what computes a weight, whose buffers follow the weight."""

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from isoinit._reading.torch.names import named_modules
from isoinit._reading.torch.parametrizations import computed_weights
from isoinit._reading.torch.replica import Replica


class Averaged(nn.Module):
    """Divides by a running average of the weight's size, and counts its calls."""

    def __init__(self):
        super().__init__()
        self.register_buffer("size", torch.tensor(7.0))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, weight):
        if self.training:
            self.size.lerp_(weight.norm().detach(), 0.1)
            self.calls += 1
        return weight / self.size

    def right_inverse(self, weight):
        return weight


def replica(model, **options):
    (computed,) = computed_weights(named_modules(model))
    return Replica(computed, **options)


def test_the_vectors_of_power_iteration_follow():
    torch.manual_seed(0)  # the two largest singular values of some matrices are too close
    model = parametrizations.spectral_norm(nn.Linear(40, 30))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weight = torch.randn(30, 40)
    copy = replica(model)
    made = copy.assign(weight)
    torch.testing.assert_close(made, weight / torch.linalg.matrix_norm(weight, 2))
    u, _, v = torch.linalg.svd(weight)
    found = copy.changed.values()
    for vector, expected in zip(found, (u[:, 0], v[0]), strict=True):
        assert abs((vector @ expected).item()) > 1 - 1e-5
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_running_averages_follow_and_counters_do_not():
    layer = nn.Linear(6, 6)
    parametrize.register_parametrization(layer, "weight", Averaged())
    layer.parametrizations.weight[0].calls.fill_(3)
    weight = torch.randn(6, 6)
    copy = replica(layer)
    torch.testing.assert_close(copy.assign(weight), weight / weight.norm(), rtol=1e-3, atol=0)
    assert list(copy.changed) == ["parametrizations.weight.0.size"]


def test_what_the_model_held_does_not_matter():
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        copy = replica(parametrizations.spectral_norm(nn.Linear(40, 30)))
        found.append((copy.assign(torch.arange(1200.0).sin().view(30, 40)), copy.buffers))
    (first, buffers), (second, others) = found
    assert torch.equal(first, second)
    assert all(torch.equal(buffers[name], others[name]) for name in buffers)


def test_generators_are_put_back():
    layer = parametrizations.orthogonal(nn.Linear(4, 9))
    before = torch.get_rng_state()
    replica(layer).assign(torch.linalg.qr(torch.ones(9, 4).cumsum(0) ** 2)[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_short_types_are_worked_out_in_float32():
    copy = replica(parametrizations.spectral_norm(nn.Linear(8, 8)).to(torch.bfloat16))
    assert copy.form() == ((8, 8), torch.float32)
