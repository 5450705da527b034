"""Every solution of the equations leaves a model's function as it is: tried on real models."""

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from isoinit._planning.transfer.equations import system
from isoinit._planning.transfer.lines import shift
from isoinit._planning.verbs import planned
from isoinit._reading.torch.names import named_parameters

WIDTH = 32
SIZES = {
    "vocab_size": 65,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
}
FEW = {"num_key_value_heads": 2, "head_dim": WIDTH // 4}
GPT = {"vocab_size": 65, "n_layer": 2, "n_head": 4, "n_embd": WIDTH, "n_positions": 64}
TOKENS = {"input_ids": torch.arange(24).reshape(2, 12) % 65}
PICTURE = {"pixel_values": torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8)}
BOTH = {**TOKENS, "decoder_input_ids": TOKENS["input_ids"]}
MODELS = {
    "GPT2LMHeadModel": (GPT, TOKENS),
    "GPTJForCausalLM": ({**GPT, "rotary_dim": 4}, TOKENS),
    "LlamaForCausalLM": ({**SIZES, **FEW}, TOKENS),
    "Qwen3ForCausalLM": ({**SIZES, **FEW, "tie_word_embeddings": True}, TOKENS),
    "GemmaForCausalLM": ({**SIZES, **FEW}, TOKENS),
    "OPTForCausalLM": (
        {**SIZES, "ffn_dim": 64, "word_embed_proj_dim": WIDTH, "max_position_embeddings": 64},
        TOKENS,
    ),
    "BloomForCausalLM": (
        {"vocab_size": 65, "hidden_size": WIDTH, "n_layer": 2, "n_head": 4},
        TOKENS,
    ),
    "GPTNeoXForCausalLM": (SIZES, TOKENS),
    "MambaForCausalLM": (
        {"vocab_size": 65, "hidden_size": WIDTH, "num_hidden_layers": 2, "state_size": 4},
        TOKENS,
    ),
    "BertForMaskedLM": (SIZES, TOKENS),
    "DebertaModel": (SIZES, TOKENS),
    "T5ForConditionalGeneration": (
        {
            "vocab_size": 65,
            "d_model": WIDTH,
            "d_kv": 8,
            "d_ff": 64,
            "num_layers": 2,
            "num_heads": 4,
        },
        BOTH,
    ),
    "ViTForImageClassification": (
        {**SIZES, "image_size": 8, "patch_size": 2, "num_channels": 1},
        PICTURE,
    ),
}
TINY = 1e-12  # eps of norm layers: what they add is no part of the equations


def built(name):
    options, batch = MODELS[name]
    kind = getattr(transformers, name)
    config = kind.config_class(**options)
    if hasattr(config, "use_cache"):
        config.use_cache = False
    torch.manual_seed(0)
    model = kind(config).double().eval()
    for module in model.modules():
        for key in ("eps", "variance_epsilon"):
            if isinstance(getattr(module, key, None), float):
                setattr(module, key, TINY)
    doubled = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
    return model, doubled


def some_gauges(graph):
    """Return a random solution of a graph's equations, by parameter."""
    made = system(graph, {}, {*graph.parts, *graph.charts})
    fixed = made.fixed | made.returned
    keys = sorted({k for e in made.equations for k in e.terms if k not in fixed}, key=str)
    place = {key: at for at, key in enumerate(keys)}
    matrix = np.zeros((len(made.equations), len(keys)))
    for row, equation in enumerate(made.equations):
        for key, factor in equation.terms.items():
            if key in place:
                matrix[row, place[key]] += factor
    _, sizes, right = np.linalg.svd(matrix)
    free = right[int((sizes > 1e-9).sum()) :]
    found = np.random.default_rng(0).standard_normal(len(free)) @ free
    found *= 0.7 / np.abs(found).max()
    return {key: float(np.exp(found[place[key]])) for key in keys if isinstance(key, str)}


@pytest.mark.parametrize("name", MODELS)
def test_gauges_that_solve_the_equations_change_no_output(name):
    model, batch = built(name)
    read = planned(model, batch, method="auto", recipe=None, overrides=None, keep="own")[1]
    gauges = some_gauges(read.graph)
    assert sum(abs(gauge - 1) > 1e-3 for gauge in gauges.values()) > 4
    parameters = named_parameters(model)[0]
    with torch.no_grad():
        for parameter in parameters.values():  # biases too are to matter
            parameter.add_(0.02 * torch.randn_like(parameter))
        before = model(**batch)[0]
        for key, gauge in gauges.items():
            added = shift(read.graph, key)
            parameters[key].add_(added).mul_(gauge).sub_(added)
        after = model(**batch)[0]
    assert (before - after).abs().max() <= 1e-5 * before.abs().max()


class Odd(nn.Module):
    """Functions whose sizes go in other ways than a layer's."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(8, 8) for _ in range(3))
        self.mix, self.scale = nn.Parameter(torch.rand(8)), nn.Parameter(torch.rand(8))
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        a, b, c = self.a(x), self.b(x), self.c(x)
        x = self.mix * a + (1 - self.mix) * b  # a weighted mean: `mix` has no gauge
        x = torch.relu(x) ** 2 / c.abs().sqrt()
        x = x * torch.exp(self.scale)
        return self.last(torch.cat([x, x.flip(-1)], -1)[..., 4:12])


def test_other_powers_and_what_is_used_in_two_ways():
    torch.manual_seed(0)
    model, x = Odd().double(), torch.randn(5, 8, dtype=torch.float64)
    read = planned(model, x, method="auto", recipe=None, overrides=None, keep="own")[1]
    gauges = some_gauges(read.graph)
    assert "mix" not in gauges
    assert "scale" not in gauges
    assert abs(gauges["a.weight"] - 1) > 1e-3
    with torch.no_grad():
        before = model(x)
        for key, gauge in gauges.items():
            dict(model.named_parameters())[key].mul_(gauge)
        torch.testing.assert_close(model(x), before, rtol=1e-9, atol=1e-9)
