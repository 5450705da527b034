"""Plans keep signal and gradient alive in deep plain networks, and say what they are about."""

import functools
import math
import re
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import isoinit


class Made(nn.Module):
    """An activation that nobody has a formula for."""

    def forward(self, x):
        return torch.sin(x) + 0.3 * x


def perceptron(activation):
    sizes = pairwise([64, *[256] * 50])
    layers = [part for a, b in sizes for part in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers, nn.Linear(256, 10)), torch.randn(64, 64)


def convolutional(activation):
    sizes = pairwise([3, *[32] * 30])
    layers = [part for a, b in sizes for part in (nn.Conv2d(a, b, 3, padding=1), activation())]
    return nn.Sequential(*layers), torch.randn(8, 3, 12, 12)


@functools.cache
def planned(build, activation):
    """A plan made for one batch; another of the same law has the same."""
    torch.manual_seed(0)
    return isoinit.plan(*build(activation))


def measured(build, activation, seed):
    """Standard deviations of pre-activations, and norms of weight gradients."""
    torch.manual_seed(seed)
    model, x = build(activation)
    planned(build, activation).apply(model, seed)
    seen = []
    for module in model:
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.register_forward_hook(lambda _, __, out: seen.append(out.std().item()))
    output = model(x)
    (output - torch.randn_like(output)).square().mean().backward()
    return seen, [p.grad.norm().item() for p in model.parameters() if p.dim() > 1]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "activation", [nn.ReLU, nn.Tanh, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.Sigmoid, Made]
)
def test_fifty_layers_keep_signal_and_gradient(activation, seed):
    seen, norms = measured(perceptron, activation, seed)
    *hidden, _ = seen
    assert min(hidden) > 0.4
    assert max(hidden) < 2.5
    assert max(norms) / min(norms) < 10


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.SELU, nn.SiLU])
def test_thirty_convolutions_keep_signal_and_gradient(activation):
    seen, norms = measured(convolutional, activation, 0)
    assert min(seen) > 0.4
    assert max(seen) < 2.5
    assert max(norms) / min(norms) < 10


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_gates_and_gradients_live_over_two_hundred_steps(kind):
    torch.manual_seed(0)
    layer, x = kind(64, 128, batch_first=True), torch.randn(16, 200, 64)
    isoinit.init(layer, x, seed=0)
    states = layer(x)[0]
    before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], 1)
    into = nn.functional.linear(x, layer.weight_ih_l0)
    back = nn.functional.linear(before, layer.weight_hh_l0)
    stds = (into + back).std((0, 2))
    assert stds.min() > 0.4
    assert stds.max() < 2.5
    (states - torch.randn_like(states)).square().mean().backward()
    norms = [layer.weight_ih_l0.grad.norm().item(), layer.weight_hh_l0.grad.norm().item()]
    assert max(norms) / min(norms) < 10


def gated():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(32)
            self.gate, self.up, self.down = nn.Linear(32, 64), nn.Linear(32, 64), nn.Linear(64, 32)

        def forward(self, x):
            y = self.norm(x)
            return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))

    return nn.Sequential(*[Block() for _ in range(4)]), torch.randn(8, 32)


def test_an_explanation_tells_the_whole_chain():
    lines = isoinit.plan(*gated()).explain("1.down.weight")
    assert max(map(len, lines.splitlines())) <= 80
    text = " ".join(lines.split())
    assert "input silu·mul of weight" in text
    assert text.startswith("1.down.weight: weight ending a residual branch, float32 of 32×64")
    assert '"residual branch": a weight that writes to a residual stream of N branches' in text
    assert "Var = E[x₀²]/(N · fan_in · E[x²])" in text
    assert "N = 4" in text
    second = 1 / 1.676532**2  # E[silu(z)²] · E[z²]
    found = float(re.search(r"E\[x²\] = ([\d.]+)", text)[1])
    assert found == pytest.approx(second, rel=1e-3)
    assert "0.596 before, 0.5 after" in text  # sqrt(0.356), and one of four branches
    assert "Radford" in text
    assert '"measured signal"' in text


def test_an_explanation_tells_the_gradient():
    plan = isoinit.plan(*gated())
    # Three blocks behind it each add a little to the gradient of the skip, which is one.
    found = re.search(
        r"gradient +root mean square ([\d.]+) expected", plan.explain("3.down.weight")
    )
    assert float(found[1]) == 1
    assert plan["0.down.weight"].expected_gradient > plan["2.down.weight"].expected_gradient > 1


def test_numbers_of_an_explanation_give_the_standard_deviation():
    plan = isoinit.plan(*gated())
    numbers = dict(plan["1.down.weight"].numbers)
    variance = numbers["E[x₀²]"] / (numbers["N"] * numbers["fan_in"] * numbers["E[x²]"])
    assert plan["1.down.weight"].std == pytest.approx(math.sqrt(variance), rel=1e-5)


def test_an_explanation_of_what_was_set_by_hand_names_no_rule():
    plan = isoinit.plan(*gated())
    plan["1.down.weight"] = isoinit.Zeros()
    text = plan.explain("1.down.weight")
    assert "set by hand (your choice)" in text
    assert "by rule" not in text
    assert plan["1.down.weight"].expected is None
    assert plan["1.down.weight"].expected_gradient is None


def test_explanations_survive_saving(tmp_path):
    plan = isoinit.plan(*gated())
    plan.save(tmp_path / "plan.json")
    again = isoinit.Plan.load(tmp_path / "plan.json")
    assert [again.explain(e.name) for e in plan] == [plan.explain(e.name) for e in plan]


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(isoinit.IsoinitError, match="down"):
        isoinit.plan(*gated()).explain("1.dwn.weight")


def test_a_check_shows_what_the_plan_expects():
    torch.manual_seed(0)
    model, _ = gated()
    batch = torch.randn(256, 32)
    plan = isoinit.init(model, batch, seed=0)
    health = isoinit.check(model, batch, plan=plan)
    for layer in health.layers:
        assert layer.expected == plan[f"{layer.name}.weight"].expected
        assert layer.rms == pytest.approx(layer.expected, rel=0.3)  # one draw of narrow layers
    assert "expected" in str(health)
    assert "expected" not in str(isoinit.check(model, batch))


def test_a_residual_stream_that_starts_at_zero_is_planned():
    class Empty(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            stream = 0 * x
            stream = stream + self.first(torch.relu(stream))
            return stream + self.second(torch.relu(stream))

    plan = isoinit.plan(Empty(), torch.randn(4, 8))
    assert all(entry.std > 0 for entry in plan if entry.name.endswith("weight"))


def test_what_cannot_be_followed_is_not_claimed_to_have_unit_size():
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.a, self.b = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x):
            return self.b(torch.relu(self.a(torch.linalg.svd(self.norm(x))[0])))

    with torch.device("meta"):  # where it cannot be measured
        model = Sorted()
    plan = isoinit.plan(model, torch.randn(8, 8))
    assert "cannot follow (linalg_svd)" in plan["a.weight"].reason
    assert "E[x²]" not in plan.explain("a.weight")
    assert plan["b.weight"].gain == pytest.approx(math.sqrt(2))  # ReLU takes its half all the same


@pytest.mark.parametrize(
    "scaled",
    [lambda x: 3 * x, lambda x: x * torch.tensor(3.0), lambda x: x / torch.full((8,), 1 / 3)],
)
def test_a_stream_starts_with_what_its_skip_is_scaled_to(scaled):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.first, self.a = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            x = scaled(self.first(self.norm(x)))
            return x + self.a(F.layer_norm(x, (8,)))

    entry = isoinit.plan(Scaled(), torch.randn(4, 8))["a.weight"]
    assert entry.rule == "residual branch"
    assert entry.std == pytest.approx(3 / math.sqrt(8))


class Queries(nn.Module):
    """A table that is copied for each example, multiplied with the signal, and added to it."""

    def __init__(self):
        super().__init__()
        self.first, self.queries = nn.Linear(16, 16), nn.Embedding(9, 16)
        self.last = nn.Linear(16, 16)

    def forward(self, x):
        x = self.first(x)
        queries = self.queries.weight.unsqueeze(0).repeat(len(x), 1, 1)
        scores = x @ queries.mT
        return self.last(scores.softmax(-1) @ queries) + self.last(x + queries)


def test_a_parameter_that_is_a_weight_and_a_position_is_filled_as_the_first():
    for examples in (1, 4):  # of one example the copy is the parameter itself
        entry = isoinit.plan(Queries(), torch.randn(examples, 9, 16))["queries.weight"]
        assert entry.std == pytest.approx(1 / 16**0.5, rel=0.2)


class Empty(nn.Module):
    """A branch on no element of the example, put where a mask says."""

    def __init__(self):
        super().__init__()
        self.first, self.none, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        y, mask = self.first(x), torch.zeros(x.shape[:2], dtype=torch.bool)
        y[mask] = self.none(x[0, :0])
        return self.last(y)


def test_a_branch_on_nothing_is_planned():
    assert isoinit.plan(Empty(), torch.randn(1, 4, 8))["none.weight"].initializer is not None
