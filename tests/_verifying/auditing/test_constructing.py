"""What a constructor means by its values, and a later part of it writes over."""

import copy

import pytest
import torch
from torch import nn

import isoinit
from isoinit import functional


def time_steps():
    """Biases whose softplus is spread over 10⁻³ to 10⁻¹, as Mamba's constructor gives them."""
    steps = torch.exp(torch.rand(16) * 4.6 - 6.9)
    return steps + torch.log(-torch.expm1(-steps))


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.dt, self.out = nn.Linear(4, 16), nn.Linear(16, 3)
        self.write()
        self.later()

    def write(self):
        self.dt.bias.data.copy_(time_steps())


def sweep(module, init=nn.init):
    if isinstance(module, nn.Linear):
        init.normal_(module.weight, std=0.02)
        init.zeros_(module.bias)


def applied(model):
    model.apply(sweep)


def by_our_functions(model):
    model.apply(lambda module: sweep(module, functional))


@torch.no_grad()
def by_parameter(model):
    for parameter in model.parameters():
        nn.init.xavier_uniform_(parameter) if parameter.dim() > 1 else nn.init.zeros_(parameter)


@torch.no_grad()
def scaled(model):
    for parameter in model.parameters():
        parameter.mul_(0.1)


@torch.no_grad()
def scaled_by_an_operator(model):
    for parameter in model.parameters():
        parameter *= 0


def other_data(model):
    for layer in model.children():
        layer.bias.data = torch.zeros_like(layer.bias)


def data_computed_from_it(model):
    for parameter in model.parameters():
        parameter.data = parameter.data * 0.5


def another_parameter(model):
    for layer in model.children():
        layer.bias = nn.Parameter(torch.zeros(len(layer.bias)))


def fresh(model):
    return nn.ModuleDict({"dt": nn.Linear(4, 16), "out": nn.Linear(16, 3)})


def loaded(model):
    model.load_state_dict(fresh(model).state_dict())


def copied(model):
    for mine, other in zip(model.parameters(), fresh(model).parameters(), strict=True):
        mine.data.copy_(other.data)


def reset(model):
    for layer in model.children():
        layer.reset_parameters()


def finding(build):
    found = [f for f in isoinit.audit(build).findings if f.name == "written over"]
    assert len(found) < 2
    return found[0] if found else None


def made(later, write=Steps.write):
    return type("Made", (Steps,), {"later": later, "write": write})


OVER = [
    applied, by_our_functions, by_parameter, scaled, scaled_by_an_operator, other_data,
    data_computed_from_it, another_parameter, loaded, copied, reset,
]  # fmt: skip


@pytest.mark.parametrize("later", OVER)
def test_values_that_are_written_over(later):
    found = finding(made(later))
    assert (found.severity, found.where) == ("warning", ("dt.bias",))
    assert f"{__file__.rsplit('/', 1)[-1]}:" in found.sentence.partition(", then ")[2] or (
        later is reset and "in reset_parameters" in found.sentence
    )


def test_the_sentence_tells_what_was_lost_where_and_by_what():
    sentence = finding(made(applied)).sentence
    assert "dt.bias (random numbers of mean −4" in sentence
    assert "in write, then zero_() at test_constructing.py:" in sentence
    assert "in sweep)" in sentence
    assert isoinit.audit(made(applied)).ok


def a_gate(model):
    model.dt.bias.data.fill_(-2)


def no_output(model):
    nn.init.zeros_(model.out.weight)


def a_part(model):
    model.dt.bias.data[4:8] = 1


def identity(model):
    functional.eye_(model.out.weight)


@pytest.mark.parametrize(
    ("write", "where"),
    [(a_gate, "dt.bias"), (no_output, "out.weight"), (a_part, "dt.bias"), (identity, "out.weight")],
)
def test_constants_and_patterns_that_are_written_over(write, where):
    assert finding(made(applied, write)).where == (where,)


def test_a_norm_that_was_zero_and_one_that_a_parent_sweeps_over():
    class Norms(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.BatchNorm1d(8), nn.BatchNorm1d(8)
            self.steps = made(lambda model: None)()
            nn.init.zeros_(self.last.weight)
            for module in self.modules():
                sweep(module)
                if isinstance(module, nn.BatchNorm1d):
                    nn.init.ones_(module.weight)

    assert set(finding(Norms).where) == {"last.weight", "steps.dt.bias"}


# What every model does.


def nothing(model):
    pass


def smaller(model):
    model.dt.bias.data.mul_(0.5)


def moved(model):
    model.to(torch.bfloat16).float()


def twin(model):
    model.twin = copy.deepcopy(model.dt)
    model.twin.load_state_dict(model.dt.state_dict())


def put_back(model):
    kept = model.dt.bias.data.clone()
    model.apply(sweep)
    model.dt.bias.data.copy_(kept)


def drawn_again(model):
    model.dt.bias.data.copy_(time_steps())


def one_unit(model):
    """Of one bias it cannot be told whether it was drawn, and torch's layers draw theirs."""
    model.one = nn.Linear(4, 1)
    model.apply(sweep)
    nn.init.uniform_(model.one.bias)


def scale_about_one(model):
    """A norm that adds one to its weight: a sweep writes ones, and a later branch zeros."""
    model.gain = nn.Parameter(torch.zeros(8))
    for value in (1.0, 0.0):
        nn.init.constant_(model.gain, value)


def another_choice(model):
    model.apply(sweep)
    model.dt.bias.data.fill_(-3)


@pytest.mark.parametrize(
    ("later", "write"),
    [
        (applied, nothing),
        (nothing, Steps.write),
        (Steps.write, applied),
        (no_output, applied),
        (smaller, Steps.write),
        (moved, Steps.write),
        (twin, Steps.write),
        (drawn_again, Steps.write),
        (one_unit, nothing),
        (scale_about_one, nothing),
        (put_back, Steps.write),
        (another_choice, Steps.write),
    ],
)
def test_nothing_is_lost(later, write):
    assert finding(made(later, write)) is None


class Starts(nn.Module):
    """Placeholders, drawn values and neutral numbers of all kinds, under a sweep."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 9, 8))
        self.token = nn.Parameter(torch.randn(1, 1, 8) * 0.02)
        self.table = nn.Embedding(9, 8, padding_idx=0)
        self.uniform, self.old = nn.Parameter(torch.rand(8, 8)), nn.Parameter(torch.Tensor(8, 8))
        self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 8)
        nn.init.trunc_normal_(self.position, std=0.02)
        for parameter in (self.token, self.uniform, self.old):
            nn.init.xavier_uniform_(parameter[0] if parameter.dim() > 2 else parameter)
        self.apply(self.sweep)

    def sweep(self, module):
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
            module.weight.data[0].zero_()
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.orthogonal_(module.weight, 0.1)
            nn.init.zeros_(module.bias)
            nn.init.normal_(module.bias, std=1e-6)


def torchs():
    layers = nn.MultiheadAttention(8, 2), nn.LSTM(3, 4), nn.PReLU(), nn.Bilinear(2, 3, 4)
    model = nn.Sequential(nn.Linear(4, 4), *layers)
    model[0].reset_parameters()
    return model


@pytest.mark.parametrize("build", [Starts, torchs])
def test_starts_are_no_loss(build):
    assert finding(build) is None


def test_values_that_the_initialization_after_the_constructor_writes_over():
    build = type("Outside", (Steps,), {"later": nothing, "init_weights": applied})
    found = {f.name: f.where for f in isoinit.audit(build).findings}
    assert "written over" not in found  # no part of the constructor
    assert found["differs from __init__"] == ("dt.bias",)
