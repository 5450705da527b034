"""What each torch function does with its parameters, read from real models."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from transformers.pytorch_utils import Conv1D

from isoinit._reading.torch import trace
from isoinit.errors import TraceError


class Direct(nn.Module):
    """Parameters used without a layer."""

    def __init__(self, function, *shapes):
        super().__init__()
        self.ps = nn.ParameterList(nn.Parameter(torch.randn(*shape)) for shape in shapes)
        self.function = function

    def forward(self, x):
        return self.function(x, *self.ps)


def uses(model, *batch):
    graph = trace(model, batch)
    return {
        u.parameter: (u.slot, u.layout.fan_in, u.layout.fan_out)
        for op in graph.ops
        for u in op.uses
    }


# (how the parameter is used, its shape, the input's shape, slot, fan_in, fan_out)
DIRECT = [
    ("x @ w", lambda x, w: x @ w, (4, 6), "weight", 4, 6),
    ("x @ w.T", lambda x, w: x @ w.T, (6, 4), "weight", 4, 6),
    ("square, transposed", lambda x, w: x @ w.t(), (4, 4), "weight", 4, 4),
    ("w @ x.T", lambda x, w: w @ x.T, (6, 4), "weight", 4, 6),
    ("F.linear of a transpose", lambda x, w: F.linear(x, w.t()), (4, 6), "weight", 4, 6),
    ("mm", lambda x, w: torch.mm(x, w), (4, 6), "weight", 4, 6),
    ("einsum", lambda x, w: torch.einsum("bi,ij->bj", x, w), (4, 6), "weight", 4, 6),
    ("einsum, heads", lambda x, w: torch.einsum("bi,hid->bhd", x, w), (2, 4, 6), "weight", 4, 12),
    ("reshaped", lambda x, w: x @ w.reshape(4, 6), (4, 2, 3), "weight", 4, 6),
    ("in half precision", lambda x, w: (x.half() @ w.half()).float(), (4, 6), "weight", 4, 6),
    ("one third of a packed weight", lambda x, w: F.linear(x, w[:4]), (12, 4), "weight", 4, 4),
    ("experts", lambda x, w: torch.bmm(x.expand(3, 5, 4), w), (3, 4, 6), "weight", 4, 6),
    ("x @ vector", lambda x, w: x @ w, (4,), "weight", 4, 1),
    ("vector @ x.T", lambda x, w: w @ x.T, (4,), "weight", 4, 1),
    ("inner", lambda x, w: torch.inner(x, w), (6, 4), "weight", 4, 6),
    ("inner, turned", lambda x, w: torch.inner(w, x), (6, 4), "weight", 4, 6),
    ("tensordot", lambda x, w: torch.tensordot(x, w, 1), (4, 6), "weight", 4, 6),
    ("tensordot, turned", lambda x, w: torch.tensordot(w, x.T, 1), (6, 4), "weight", 4, 6),
    (
        "tensordot, axes listed",
        lambda x, w: torch.tensordot(w, x, ([0], [1])),
        (4, 2, 3),
        "weight",
        4,
        6,
    ),
    ("by keyword", lambda x, w: F.linear(input=x, weight=w), (6, 4), "weight", 4, 6),
    (
        "convolution by keyword",
        lambda x, w: F.conv1d(input=x[None], weight=w),
        (6, 5, 3),
        "weight",
        15,
        18,
    ),
    ("mask token", lambda x, t: torch.where(x > 0, t, x), (4,), "token", 1, 1),
    ("x + b", lambda x, b: F.relu(x) + b, (4,), "bias", 1, 1),
    ("x += b", lambda x, b: F.relu(x).add_(b), (4,), "bias", 1, 1),
    ("x * g", lambda x, g: x * g, (4,), "scale", 1, 1),
    ("a function of a parameter", lambda x, a: x * torch.exp(a), (4,), "scale", 1, 1),
    ("position", lambda x, p: x + p, (5, 4), "position", 1, 1),
    ("token", lambda x, t: torch.cat([t.expand(1, -1), x]), (1, 4), "token", 1, 1),
]


@pytest.mark.parametrize(
    ("function", "shape", "slot", "n_in", "n_out"),
    [row[1:] for row in DIRECT],
    ids=[row[0] for row in DIRECT],
)
def test_parameters_used_directly(function, shape, slot, n_in, n_out):
    model = Direct(function, shape)
    assert uses(model, torch.randn(5, 4)) == {"ps.0": (slot, n_in, n_out)}


def test_hugging_face_conv1d_is_stored_transposed():
    found = uses(Conv1D(12, 4), torch.randn(5, 4))
    assert found == {"weight": ("weight", 4, 12), "bias": ("bias", 1, 1)}


def test_lstm_of_two_layers_both_ways_with_projection():
    model = nn.LSTM(5, 8, num_layers=2, bidirectional=True, proj_size=3)
    found = uses(model, torch.randn(7, 2, 5))
    for suffix in ("", "_reverse"):
        assert found[f"weight_ih_l0{suffix}"] == ("input weight", 5, 8)
        assert found[f"weight_hh_l0{suffix}"] == ("recurrent weight", 3, 8)
        assert found[f"weight_ih_l1{suffix}"] == ("input weight", 6, 8)
        assert found[f"weight_hr_l1{suffix}"] == ("weight", 8, 3)
        assert found[f"bias_ih_l1{suffix}"][0] == "input bias"
        assert found[f"bias_hh_l1{suffix}"][0] == "recurrent bias"
    assert len(found) == 20


@pytest.mark.parametrize("layer", [nn.GRU(5, 8, bias=False), nn.RNN(5, 8, nonlinearity="relu")])
def test_other_recurrent_layers(layer):
    found = uses(layer, torch.randn(7, 2, 5))
    assert found["weight_ih_l0"] == ("input weight", 5, 8)
    assert found["weight_hh_l0"] == ("recurrent weight", 8, 8)


def test_packed_sequences():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(5, 8)

        def forward(self, x):
            packed = nn.utils.rnn.pack_padded_sequence(x, [7, 4])
            return self.lstm(packed)[0].data

    assert uses(Packed(), torch.randn(7, 2, 5))["lstm.weight_hh_l0"] == ("recurrent weight", 8, 8)


@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3), (nn.RNNCell, 1)])
def test_cells(cell, gates):
    graph = trace(cell(5, 8), torch.randn(2, 5))
    layouts = {u.parameter: u.layout for op in graph.ops for u in op.uses}
    assert layouts["weight_hh"].maps_shape == (gates, 8, 8, 1)
    assert layouts["weight_ih"].maps_shape == (gates, 8, 5, 1)


def test_attention_packed_and_separate():
    packed = uses(nn.MultiheadAttention(8, 2), *[torch.randn(3, 2, 8)] * 3)
    assert packed["in_proj_weight"] == ("weight", 8, 8)
    assert packed["out_proj.weight"] == ("weight", 8, 8)
    assert packed["in_proj_bias"][0] == packed["out_proj.bias"][0] == "bias"
    separate = nn.MultiheadAttention(8, 2, kdim=5, vdim=6, add_bias_kv=True)
    found = uses(separate, torch.randn(3, 2, 8), torch.randn(4, 2, 5), torch.randn(4, 2, 6))
    assert found["q_proj_weight"] == ("weight", 8, 8)
    assert found["k_proj_weight"] == ("weight", 5, 8)
    assert found["v_proj_weight"] == ("weight", 6, 8)
    assert found["bias_k"][0] == found["bias_v"][0] == "token"


def test_convolutions_count_groups_and_strides():
    model = nn.Sequential(
        nn.Conv2d(8, 16, 3, stride=2, groups=4), nn.ConvTranspose2d(16, 6, 4, stride=2, groups=2)
    )
    found = uses(model, torch.randn(2, 8, 9, 9))
    assert found["0.weight"] == ("weight", 2 * 9, 4 * 9 / 4)
    assert found["1.weight"] == ("weight", 8 * 16 / 4, 3 * 16)


def test_embeddings_and_their_padding():
    graph = trace(nn.Embedding(10, 4, padding_idx=-1), torch.tensor([[1, 2]]))
    (layout,) = [u.layout for op in graph.ops for u in op.uses]
    assert (layout.fan_in, layout.fan_out, layout.padding) == (1, 4, 9)
    bag = nn.EmbeddingBag(10, 4, mode="sum")
    assert uses(bag, torch.tensor([[1, 2, 3]]))["weight"] == ("table", 3, 4)


def test_norm_layers():
    model = nn.Sequential(nn.BatchNorm1d(6), nn.LayerNorm(6), nn.GroupNorm(2, 6), nn.RMSNorm(6))
    found = uses(model, torch.randn(5, 6))
    assert [found[f"{i}.weight"][0] for i in range(4)] == ["scale"] * 4
    assert [found[f"{i}.bias"][0] for i in range(3)] == ["shift"] * 3


def test_parametrized_weights_are_read_through():
    model = nn.utils.parametrizations.weight_norm(nn.Linear(4, 6))
    found = uses(model, torch.randn(5, 4))
    assert found["parametrizations.weight.original1"] == ("weight", 4, 6)
    assert "parametrizations.weight.original0" not in found  # it follows from the other


def test_a_mask_token_that_is_written_into_the_signal():
    def masked(x, token):
        y = x.clone()
        y[1:3] = token
        return y

    assert uses(Direct(masked, (4,)), torch.randn(5, 4)) == {"ps.0": ("token", 1, 1)}


def test_mixed_types_are_refused_by_keyword_too():
    model = Direct(lambda x, w: F.linear(input=x.half(), weight=w), (6, 4))
    with pytest.raises(TraceError, match="Half"):
        trace(model, torch.randn(5, 4))


def test_matrices_that_are_multiplied_before_their_use_are_weights():
    found = uses(Direct(lambda x, a, b: x @ (a @ b), (4, 2), (2, 6)), torch.randn(5, 4))
    assert found == {"ps.0": ("weight", 4, 2), "ps.1": ("weight", 2, 6)}
    lora = Direct(lambda x, w, a, b: F.linear(x, w + 0.5 * (b @ a)), (6, 4), (2, 4), (6, 2))
    assert uses(lora, torch.randn(5, 4)) == {
        "ps.0": ("weight", 4, 6),
        "ps.1": ("weight", 4, 2),
        "ps.2": ("weight", 2, 6),
    }


# How parameters are used by calls that do several things at once, their shapes, what each is by hand.
COMPOSITES = {
    "multi_dot": (
        lambda x, a, b: torch.linalg.multi_dot([x, a, b]),
        ((4, 2), (2, 6)),
        {"ps.0": ("weight", 4, 2), "ps.1": ("weight", 2, 6)},
    ),
    "addcmul": (
        lambda x, g, b: torch.addcmul(b, x, g),
        ((4,), (4,)),
        {"ps.0": ("scale", 1, 1), "ps.1": ("shift", 1, 1)},
    ),
    "addcmul_": (
        lambda x, g: x.clone().addcmul_(x, g, value=2),
        ((4,),),
        {"ps.0": ("scale", 1, 1)},
    ),
    "addcdiv": (lambda x, g: torch.addcdiv(x, x, g), ((4,),), {"ps.0": ("scale", 1, 1)}),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_calls_of_several_steps(name):
    function, shapes, expected = COMPOSITES[name]
    assert uses(Direct(function, *shapes), torch.randn(5, 4)) == expected


def test_scores_of_one_call_are_a_product_and_a_sum():
    bias = torch.zeros(2, 5, 5)
    model = Direct(lambda x, w: torch.baddbmm(bias, x @ w, x.mT, alpha=0.5), (4, 4))
    graph = trace(model, torch.randn(2, 5, 4))
    assert [op.name for op in graph.ops] == ["matmul", "mT", "matmul", "mul", "add"]
