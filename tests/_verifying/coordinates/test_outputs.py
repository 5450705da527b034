"""What is measured of a forward: layers, attention scores, and what is returned."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from by_width import GPT, TOKENS, X, mlp
from isoinit._verifying.coordinates.outputs import read_outputs
from isoinit.errors import TraceError


def gpt(width=32, fused=True):
    torch.manual_seed(0)
    return GPT(width, fused)


def test_layers_are_told_by_their_weights():
    found = read_outputs(gpt(), TOKENS)
    block = ["c_attn", "c_attn scores", "c_proj", "c_fc", "c_out"]
    inside = [f"h.{i}.{name}" for i in range(2) for name in block]
    assert list(found) == ["wte", *inside, "wte, use 2"]  # positions depend on no example
    assert found["h.0.c_out"].terms == 128
    assert found["h.0.c_fc"].tensor.shape == (16, 8, 128)


def test_a_readout_that_is_a_table_too_is_what_the_model_returns():
    model = gpt()
    found = read_outputs(model, TOKENS)["wte, use 2"]
    assert torch.equal(found.tensor, model(TOKENS))
    assert (found.terms, found.parameter) == (32, "")


def test_what_the_forward_multiplies_a_readout_by_counts():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 4)

        def forward(self, x):
            return 0.25 * self.layer(x)

    model = Scaled()
    found = read_outputs(model, X)
    assert list(found) == ["layer"]
    assert torch.equal(found["layer"].tensor, model(X))


def test_scores_of_torchs_function_are_those_of_a_written_softmax():
    fused, written = (read_outputs(gpt(fused=fused), TOKENS) for fused in (True, False))
    assert list(fused) == list(written)
    one, other = (found["h.1.c_attn scores"].tensor for found in (fused, written))
    seen = torch.ones(8, 8, dtype=torch.bool).tril()
    torch.testing.assert_close(one[..., seen], other[..., seen])
    assert (other[..., ~seen] == -torch.inf).all()


def test_scores_inside_torchs_attention_layer():
    layer = nn.MultiheadAttention(16, 4, batch_first=True)
    x = torch.randn(3, 5, 16)
    scores = read_outputs(layer, (x, x, x))["scores"].tensor
    _, weights = layer(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(scores.softmax(-1), weights)


def test_scores_inside_an_attention_layer_of_other_keys():
    encoder = nn.ModuleDict({"attend": nn.MultiheadAttention(16, 4, kdim=12, vdim=12)})

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = encoder

        def forward(self, x, y):
            return self.parts["attend"](x, y, y)[0]

    given = torch.randn(5, 3, 16), torch.randn(7, 3, 12)
    found = read_outputs(Model(), given)
    assert found["parts.attend scores"].size == 3 * 4 * 5 * 7


def test_grouped_queries():
    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k = nn.Linear(8, 16), nn.Linear(8, 8)

        def forward(self, x):
            q, k = self.q(x).unflatten(-1, (4, 4)), self.k(x).unflatten(-1, (2, 4))
            q, k = q.transpose(1, 2), k.transpose(1, 2)
            return F.scaled_dot_product_attention(q, k, k, scale=0.5, enable_gqa=True)

    found = read_outputs(Grouped(), torch.randn(2, 3, 8))
    assert list(found) == ["q", "k", "scores", "output"]
    assert found["scores"].tensor.shape == (2, 4, 3, 3)


def test_the_softmax_of_a_layer_is_no_attention():
    model = nn.Sequential(nn.Linear(8, 4), nn.Softmax(-1))
    assert list(read_outputs(model, X)) == ["0", "output"]


def test_what_is_written_over_later_is_measured_before():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 4))
    assert (read_outputs(model, X)["0"].tensor < 0).any()


def test_uses_of_one_weight_are_told_apart():
    layer = nn.Linear(8, 8)
    found = read_outputs(nn.Sequential(layer, nn.ReLU(), layer), X)
    assert list(found) == ["0", "0, use 2"]
    assert [output.parameter for output in found.values()] == ["0.weight", "0.weight"]


def test_recurrent_layers_and_states():
    found = read_outputs(nn.LSTM(8, 16), torch.randn(5, 3, 8))
    assert found["weight_ih_l0"].tensor.shape == (5, 3, 16)
    assert {output.part for output in found.values()} == {"layer", "output"}


def test_no_trace_is_left():
    model = nn.Sequential(mlp(16), nn.BatchNorm1d(4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    read_outputs(model, X)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_forward_that_fails():
    with pytest.raises(TraceError, match="mat1 and mat2"):
        read_outputs(mlp(16), torch.randn(3, 5))
