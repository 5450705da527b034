"""Values of any kind (boolean, integer, sparse, nested, quantized, short, empty) stop no check."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

import isoinit
from isoinit.errors import ArgumentError

X = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
A = (torch.rand(16, 16, generator=torch.Generator().manual_seed(1)) < 0.3).float() + torch.eye(16)


class Calls(nn.Module):
    """A layer, what a function makes of it, and a layer behind that."""

    def __init__(self, function, **parameters):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.function = nn.Linear(8, 8), nn.Linear(8, 8), function
        for name, values in parameters.items():
            trained = values.is_floating_point() and values.layout is torch.strided
            setattr(self, name, nn.Parameter(values, requires_grad=trained))

    def forward(self, *args):
        return self.function(self, *args)


def shown(model, *batch, **more):
    """The check of a model, also as text, JSON and a page."""
    health = isoinit.check(model, batch, **more)
    assert str(health)
    assert health.to_json()
    assert health._repr_html_()
    return health


def names(health):
    return {finding.name for finding in health.findings}


SPARSE = ["to_sparse", "to_sparse_csr", "to_sparse_csc"]
OUTPUTS = {
    "sparse": lambda y: y.to_sparse(),
    "sparse rows": lambda y: y.to_sparse_csr(),
    "float8": lambda y: (y, y.to(torch.float8_e4m3fn)),
    "quantized": lambda y: (y, torch.quantize_per_tensor(y, 0.1, 0, torch.quint8)),
    "rows": lambda y: torch.nested.as_nested_tensor([y[:3], y[:5]], layout=torch.strided),
    "jagged": lambda y: torch.nested.as_nested_tensor([y[:3], y[:5]], layout=torch.jagged),
    "empty": lambda y: (y, y[:0]),
    "a number": lambda y: y.mean(),
    "mixed": lambda y: {"y": y, "mask": y > 0, "best": y.argmax(), "none": None, "word": "w"},
}


@pytest.mark.parametrize("make", OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.filterwarnings("ignore")
def test_outputs_of_any_kind_send_a_gradient_back(make):
    model = Calls(lambda model, x: make(model.b(torch.relu(model.a(x)))))
    health = shown(model, X, lr=0.01)
    assert not {"detached", "no output", "not finite"} & names(health)
    assert all(weight.gradient is not None for weight in health.weights)


@pytest.mark.parametrize(
    "make", [lambda y: y > 0, lambda y: y.argmax(1), lambda y: int(y.argmax()), lambda y: None]
)
def test_outputs_that_carry_no_gradient_are_an_error(make):
    assert not shown(Calls(lambda model, x: make(model.a(x))), X).ok


MIDDLES = {
    "sparse": lambda h: torch.relu(h).to_sparse().to_dense(),
    "float8": lambda h: h.to(torch.float8_e4m3fn).float(),
    "quantized": lambda h: torch.quantize_per_tensor(h, 0.1, 0, torch.quint8).dequantize(),
    "integers": lambda h: h.long().float(),
    "mask": lambda h: h * (h > 0),
    "no row": lambda h: h[h[:, 0] > 99],
    **{
        str(layout): lambda h, layout=layout: torch.nested.to_padded_tensor(
            torch.nested.as_nested_tensor([h[:3], h[:5]], layout=layout), 0.0
        )
        for layout in (torch.strided, torch.jagged)
    },
}


@pytest.mark.parametrize("make", MIDDLES.values(), ids=MIDDLES)
@pytest.mark.filterwarnings("ignore")
def test_what_lies_between_two_layers(make):
    health = shown(Calls(lambda model, x: model.b(make(model.a(x)))), X)
    seen = [layer.name for layer in health.layers]
    assert seen == ["a", "b"] or (make is MIDDLES["no row"] and seen == ["a"])
    assert "not finite" not in names(health)


@pytest.mark.filterwarnings("ignore")
def test_a_layer_of_rows_without_sizes():
    def nested(model, x):
        made = model.a(torch.nested.as_nested_tensor([x[:3], x[:5]], layout=torch.strided))
        return model.b(torch.nested.to_padded_tensor(made, 0.0))

    health = shown(Calls(nested), X)
    assert [(layer.name, layer.units) for layer in health.layers] == [("a", 8), ("b", 8)]


@pytest.mark.filterwarnings("ignore")
def test_a_layer_of_rows_of_unequal_length_is_measured_as_its_rows():
    rows = torch.cat([X[:3], X[:5]])

    def nested(model, x):
        given = torch.nested.as_nested_tensor([x[:3], x[:5]], layout=torch.jagged)
        return model.b(torch.relu(model.a(given))).values()

    model = Calls(nested)
    expected = model.a(rows)
    dead = (expected <= 0).all(0).float().mean().item()
    layer = shown(model, X).layers[0]
    assert layer.dead == pytest.approx(dead)


@pytest.mark.parametrize("layout", SPARSE)
@pytest.mark.filterwarnings("ignore")
def test_sparse_inputs_and_their_jacobian(layout):
    model = Calls(lambda model, x, a: torch.sparse.mm(a, model.a(x)))
    health = shown(model, X, getattr(A, layout)(), jacobian=True)
    expected = torch.linalg.svdvals(A[0, 0] * model.a.weight.detach())
    assert health.jacobian == pytest.approx(expected.tolist(), rel=1e-4)
    assert not health.findings or health.ok


@pytest.mark.parametrize("layout", SPARSE)
@pytest.mark.filterwarnings("ignore")
def test_a_nan_in_a_sparse_input_is_the_batchs(layout):
    model = Calls(lambda model, x, a: torch.sparse.mm(a, model.a(x)))
    (finding,) = (
        f
        for f in shown(model, X, getattr(A * math.nan, layout)()).findings
        if f.name == "not finite"
    )
    assert "batch" in finding.sentence


def test_a_nan_in_a_short_type():
    given = torch.full((16, 8), math.nan).to(torch.float8_e4m3fn)
    health = shown(Calls(lambda model, x: model.a(x.float())), given)
    assert "not finite" in names(health)


@pytest.mark.parametrize("dtype", ["float8_e5m2", "int8", "uint8", "bool", "int64"])
def test_parameters_that_are_not_trained_of_any_type(dtype):
    codes = torch.ones(4, 8).to(getattr(torch, dtype))
    model = Calls(lambda model, x: linear(model.a(x), model.codes.float()), codes=codes)
    health = shown(model, X, lr=0.01)
    assert "codes" in [weight.name for weight in health.weights]


@pytest.mark.filterwarnings("ignore")
def test_a_parameter_in_sparse_rows():
    table = torch.eye(8).to_sparse_csr()
    model = Calls(lambda model, x: torch.sparse.mm(model.table, x.T).T + model.a(x), table=table)
    assert shown(model, X).layers


SIZES = {
    "no unit": (lambda: nn.Sequential(nn.Linear(8, 0), nn.ReLU(), nn.Linear(0, 4)), X),
    "no output": (lambda: nn.Sequential(nn.Linear(8, 0)), X),
    "no input": (lambda: nn.Sequential(nn.Linear(0, 4), nn.ReLU(), nn.Linear(4, 4)), X[:, :0]),
    "no norm": (lambda: nn.Sequential(nn.Linear(8, 0), nn.LayerNorm(0)), X),
    "no width": (lambda: nn.Sequential(nn.Embedding(5, 0)), torch.zeros(4, 3, dtype=torch.long)),
    "no row": (lambda: nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), X[:0]),
    "one unit": (lambda: nn.Sequential(nn.Linear(8, 1), nn.Tanh(), nn.Linear(1, 1)), X[:1]),
    "one row": (lambda: nn.Linear(8, 4), X[0]),
}


@pytest.mark.parametrize(("build", "batch"), SIZES.values(), ids=SIZES)
@pytest.mark.filterwarnings("ignore")
def test_sizes_of_none_and_one(build, batch):
    assert shown(build(), batch, lr=0.01).weights


def test_an_empty_weight_is_not_identical_units():
    model = Calls(lambda model, x: model.a(x) + linear(x, model.none).sum(), none=torch.empty(0, 8))
    (weight,) = (w for w in shown(model, X).weights if w.name == "none")
    assert not weight.identical
    assert math.isnan(weight.rank)


def test_numbers_beyond_the_squares_of_doubles():
    health = shown(nn.Linear(8, 8).double(), X.double() * 1e200)
    (layer,) = health.layers
    assert 1e199 < layer.spread < 1e201
    assert -0.5 < layer.correlation < 1


def test_an_operation_without_a_derivative_ends_the_gradient():
    def stops(model, x):
        return model.b(Stops.apply(model.a(x)))

    class Stops(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return None

    health = shown(Calls(stops), X)
    assert health.weights[0].gradient is None


def test_examples_without_an_element_are_not_identical():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4))
    assert "identical examples" not in names(shown(model, torch.zeros(4, 0, dtype=torch.long)))


def test_a_loss_of_complex_numbers_is_refused():
    model = nn.Linear(8, 8, dtype=torch.cfloat)
    with pytest.raises(ArgumentError, match="loss returned a complex tensor"):
        isoinit.check(model, X.cfloat(), loss=lambda output: output.mean())


def test_a_jacobian_of_no_example_is_refused():
    with pytest.raises(ArgumentError, match="no dense floating-point tensor of examples"):
        isoinit.check(nn.Linear(8, 8), X[:0], jacobian=True)
