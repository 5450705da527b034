"""What scripts, traces and extensions do is read as what Python does."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import isoinit


class Image(nn.Module):
    """Convolutions, two kinds of norm, a residual sum, pooling and a head."""

    def __init__(self):
        super().__init__()
        self.first, self.up = nn.Conv2d(3, 8, 3, stride=2), nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.norm, self.group = nn.BatchNorm2d(8), nn.GroupNorm(2, 8)
        self.branch, self.head = nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Linear(8, 5)
        self.layer = nn.LayerNorm(8)

    def forward(self, x):
        x = functional.max_pool2d(torch.relu(self.norm(self.first(x))), 2)
        x = x + functional.silu(self.group(self.branch(x)))
        return self.head(self.layer(self.up(x).mean([2, 3])))


class Tokens(nn.Module):
    """An embedding, attention in single operations, and a gated feed-forward layer."""

    def __init__(self):
        super().__init__()
        self.table, self.heads = nn.Embedding(50, 16), nn.Linear(16, 48)
        self.gate, self.up, self.down = nn.Linear(16, 32), nn.Linear(16, 32), nn.Linear(32, 16)
        self.scale = nn.Parameter(torch.ones(16))

    def forward(self, tokens):
        x = self.table(tokens)
        query, key, value = self.heads(x).chunk(3, dim=-1)
        scores = torch.softmax(query @ key.transpose(1, 2) / 4.0, dim=-1)
        x = x + torch.bmm(scores, value) * self.scale
        return x + self.down(functional.gelu(self.gate(x)) * self.up(x))


class Steps(nn.Module):
    """An LSTM and its last state."""

    def __init__(self):
        super().__init__()
        self.memory, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.memory(x)[0])


class Within(nn.Module):
    """A module between two layers of Python, perhaps behind a branch on data."""

    def __init__(self, inner, branch):
        super().__init__()
        self.inner, self.head, self.branch = inner, nn.LazyLinear(3), branch

    def forward(self, x):
        y = self.inner(x)
        if self.branch and bool((y == 17.0).all()):
            return y
        return self.head(torch.relu(y))


IMAGE, TOKENS = torch.randn(4, 3, 20, 20), torch.randint(0, 50, (4, 7))
STEPS = torch.randn(4, 5, 8)


def compiled(model, x, kind):
    if kind == "script":
        return torch.jit.script(model)
    return torch.jit.trace(model, x, check_trace=False)


@pytest.mark.parametrize("kind", ["script", "trace"])
@pytest.mark.parametrize(("build", "x"), [(Image, IMAGE), (Tokens, TOKENS), (Steps, STEPS)])
@pytest.mark.parametrize("branch", [False, True])
def test_a_compiled_module_gets_the_plan_of_its_python(kind, build, x, branch):
    python, other = (Within(model, branch) for model in (build(), compiled(build(), x, kind)))
    for model in (python, other):
        model(x)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    plans = [isoinit.plan(model, x) for model in (python, other)]
    assert plans[1].how == "real" or not branch
    assert not plans[1].warnings
    for entry in plans[0]:
        its = plans[1][entry.name]
        assert (its.role, type(its.initializer)) == (entry.role, type(entry.initializer)), (
            entry.name
        )
        assert its.std == pytest.approx(entry.std, rel=0.02)  # other samples of the same signal
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    plans[1].apply(other, seed=0)
    assert isoinit.fingerprint(other) == plans[1].fingerprint(0)


@torch.jit.script
def gated(x, weight, bias):
    y = x @ weight + bias
    return y * torch.sigmoid(y)


class Function(nn.Module):
    """A script of its own parameters, and an activation that is one."""

    def __init__(self, function):
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(16, 2)
        self.weight, self.bias = nn.Parameter(torch.randn(8, 16)), nn.Parameter(torch.ones(16))
        self.function = function

    def forward(self, x):
        return self.last(self.function(torch.relu(self.first(x)), self.weight, self.bias))


FUNCTIONS = {
    "script": gated,
    "trace": torch.jit.trace(
        lambda x, w, b: functional.silu(torch.addmm(b, x, w)),
        (torch.randn(2, 8), torch.randn(8, 16), torch.randn(16)),
    ),
    "operators": lambda x, w, b: torch.ops.aten.silu(torch.ops.aten.addmm.default(b, x, w)),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_parameters_that_a_compiled_function_is_given(kind):
    plan = isoinit.plan(Function(FUNCTIONS[kind]), torch.randn(16, 8))
    assert plan["weight"].role == "weight before silu"
    assert plan["weight"].std == pytest.approx((2 / 8) ** 0.5)
    assert plan["bias"].std == 0
    assert plan["last.weight"].fed == "silu of weight"
    assert not plan.warnings


@torch.library.custom_op("isoinit_tests::hidden", mutates_args=())
def hidden(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x @ weight


@hidden.register_fake
def _(x, weight):
    return x.new_empty(x.shape[0], weight.shape[1])


def test_a_parameter_of_an_operator_that_nobody_knows_is_named():
    def function(x, weight, _bias):
        return hidden(x, weight)

    plan = isoinit.plan(Function(function), torch.randn(16, 8))
    assert plan["weight"].initializer is None
    assert any("'weight'" in warning for warning in plan.warnings)


def test_what_no_call_of_torch_shows_is_said():
    def function(x, weight, bias):
        return torch.func.vmap(lambda row: functional.silu(row @ weight + bias))(x)

    plan = isoinit.plan(Function(function), torch.randn(16, 8))
    assert any("isoinit sees no call of torch" in warning for warning in plan.warnings)
