"""Weights that modules compute are read as the weights that they are."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

from isoinit._reading.torch import structure, trace
from isoinit._reading.torch.charts import read_charts


class Own(nn.Module):
    """A parametrization of two functions."""

    def __init__(self, forward, right_inverse=None, **buffers):
        super().__init__()
        self.calculate = forward
        if right_inverse is not None:
            self.right_inverse = right_inverse
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, *tensors):
        return self.calculate(*tensors)


def layer(*functions):
    made = nn.Linear(16, 16)
    parametrize.register_parametrization(made, "weight", Own(*functions))
    return made


def chart(model):
    charts, refused = read_charts(model)
    assert refused == {}
    ((_, found),) = charts
    return found


def same(weight):
    return weight


KINDS = {  # a layer; whether it may hold the weight itself, and whether a size may be chosen
    "the same": (lambda: layer(same, same), True, True),
    "a number": (lambda: layer(lambda w: 3 * w, lambda w: w / 3), False, True),
    "symmetric": (lambda: layer(lambda w: w.triu() + w.triu(1).mT, torch.triu), True, True),
    "hyperbolic": (lambda: layer(torch.tanh, torch.atanh), False, True),
    "unit length": (lambda: layer(lambda w: w / w.norm(), same), True, False),
    "spectral": (lambda: parametrizations.spectral_norm(nn.Linear(16, 16)), True, False),
    "old spectral": (lambda: nn.utils.spectral_norm(nn.Linear(16, 16)), True, False),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(16, 16)), False, False),
}


@pytest.mark.parametrize(("build", "direct", "free"), KINDS.values(), ids=KINDS)
def test_what_comes_of_assigning_is_tried(build, direct, free):
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = chart(model)
    assert (found.direct, found.free) == (direct, free)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("functions", "why"),
    [
        ((functional.softplus, lambda w: torch.log(torch.expm1(w))), "NaN"),
        ((torch.abs, same), "mean"),
        ((lambda w: w**2 * w.sign(), same), "twice"),
        ((lambda w: 0 * w, same), "zeros"),
    ],
)
def test_what_cannot_be_assigned_is_told(functions, why):
    made = nn.Linear(16, 16)
    parametrize.register_parametrization(made, "weight", Own(*functions), unsafe=True)
    charts, refused = read_charts(made)
    assert charts == []
    assert why in refused["parametrizations.weight.original"]


def test_a_way_back_that_raises_is_told():
    made = parametrizations.orthogonal(
        nn.Linear(16, 16), orthogonal_map="cayley", use_trivialization=False
    )
    charts, refused = read_charts(made)
    assert charts == []
    assert "not possible to assign" in refused["parametrizations.weight.original"]


def test_no_way_back_is_no_chart():
    assert read_charts(layer(functional.softplus)) == ([], {})
    assert read_charts(nn.Linear(3, 3)) == ([], {})


LAYERS = {
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(16, 16)),
    "old weight norm": lambda: nn.utils.weight_norm(nn.Linear(16, 16)),
    **{name: build for name, (build, _, _) in KINDS.items()},
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("read", ["forward", "modules"])
@pytest.mark.parametrize("build", LAYERS.values(), ids=LAYERS)
def test_the_weight_is_read_as_a_layers_own(build, read):
    model = nn.Sequential(build(), nn.ReLU())
    graph = trace(model, torch.randn(4, 16)) if read == "forward" else structure(model)
    (use,) = [use for op in graph.ops for use in op.uses if use.slot == "weight"]
    assert use.through == ()
    assert (use.layout.fan_in, use.layout.shape) == (16, (16, 16))
    assert not graph.unused


def test_a_wide_orthogonal_weight_is_read_by_its_axes():
    model = parametrizations.orthogonal(nn.Linear(16, 4))  # computed as the transpose of a tall one
    graph = trace(model, torch.randn(3, 16))
    (use,) = [use for op in graph.ops for use in op.uses if use.slot == "weight"]
    assert (use.layout.fan_in, use.layout.fan_out) == (16, 4)


def test_weight_norm_called_by_hand():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.v, self.g = nn.Parameter(torch.randn(8, 16)), nn.Parameter(torch.ones(8, 1))

        def forward(self, x):
            return functional.linear(x, torch._weight_norm(self.v, self.g))

    graph = trace(Normed(), torch.randn(3, 16))
    assert graph.lengths["g"].of == "v"
    assert graph.lengths["g"].axis == 0


def test_a_length_of_two_weights_is_not_taken_for_that_of_one():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.randn(8, 8))
            self.g = nn.Parameter(torch.ones(8, 1))

        def forward(self, x):
            x = functional.linear(x, torch._weight_norm(self.a, self.g))
            return functional.linear(x, torch._weight_norm(self.b, self.g))

    graph = trace(Shared(), torch.randn(3, 8))
    assert graph.lengths["g"].of == "a"
    assert [use.through for _, use in graph.uses_of("b")] == [("weight_norm",)]
