"""Outlines, by hand from the architectures."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import isoinit
import isoinit.jax as ij
from isoinit._reading.figures import figure
from isoinit._reading.layers import is_layer
from isoinit._reading.outline import Fork, Level, Outline, Place, Repeat, outline
from isoinit._reading.torch import trace
from zoo.models import ZOO

IDS = torch.arange(3, 10)[None]
ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


def outlined(model, batch):
    return outline(trace(model.eval(), batch), type(model).__name__).parts


def short(part):
    """A part in few words: names at each place, and what it is."""
    if isinstance(part, Level):
        return [p.names if len(p.names) > 1 else p.names[0] for p in part.places]
    if isinstance(part, Fork):
        return ("fork", *map(short, part.parts), *(("skip", short(p)) for p in part.skip))
    return (part.times, *map(short, part.parts))


class Residual(nn.Module):
    """A block of a residual network, with a projection where the width changes."""

    def __init__(self, width, to):
        super().__init__()
        self.one, self.two = nn.Linear(width, to), nn.Linear(to, to)
        self.project = nn.Linear(width, to) if width != to else nn.Identity()

    def forward(self, x):
        return self.project(x) + self.two(torch.relu(self.one(x)))


def test_a_chain_is_one_layer_that_repeats():
    layers = [layer for _ in range(5) for layer in (nn.Linear(8, 8), nn.ReLU())]
    found = outlined(nn.Sequential(*layers, nn.Linear(8, 2)), torch.zeros(3, 8))
    assert [short(part) for part in found] == [(5, [("0", "2", "4", "6", "8")]), ["10"]]


def test_gpt2_has_two_branches_a_block():
    config = GPT2Config(n_layer=3, n_embd=32, n_head=4, vocab_size=99, **ENDS)
    found = [short(part) for part in outlined(GPT2LMHeadModel(config), IDS)]

    def at(name):
        return [tuple(f"transformer.h.{i}.{name}" for i in range(3))]

    assert found == [
        ["transformer.wte", "transformer.wpe"],
        (
            3,
            ("fork", at("ln_1"), at("attn.c_attn"), at("attn.c_proj")),
            ("fork", at("ln_2"), at("mlp.c_fc"), at("mlp.c_proj")),
        ),
        ["transformer.ln_f"],
        ["transformer.wte"],
    ]


def test_queries_keys_and_values_stand_side_by_side():
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, vocab_size=99, **sizes, **ENDS))
    _, block, *_ = outlined(model, IDS)
    attention, mlp = block.parts
    wide = [[p.names[0].rpartition(".")[2] for p in level.places] for level in attention.parts]
    assert wide == [["input_layernorm"], ["q_proj", "k_proj", "v_proj"], ["o_proj"]]
    assert [len(level.places) for level in mlp.parts] == [1, 2, 1]
    assert attention.parts[0].places[0].norm


def test_a_projection_lies_on_the_other_way():
    model = nn.Sequential(nn.Linear(4, 8), Residual(8, 16), Residual(16, 16), Residual(16, 16))
    found = [short(part) for part in outlined(model, torch.zeros(3, 4))]
    assert found == [
        ["0"],
        ("fork", ["1.one"], ["1.two"], ("skip", ["1.project"])),
        (2, ("fork", [("2.one", "3.one")], [("2.two", "3.two")])),
    ]


def test_branches_within_branches():
    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.inner, self.last = nn.Linear(8, 8), Residual(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return x + self.last(self.inner(torch.relu(self.first(x))))

    (found,) = outlined(Nested(), torch.zeros(3, 8))
    assert short(found) == ("fork", ["first"], ("fork", ["inner.one"], ["inner.two"]), ["last"])


def test_a_figure_leaves_out_what_the_block_tells():
    places = [Place((f"h.0.{n}", f"h.1.{n}"), n == "ln", (8,)) for n in ("ln", "mlp.up")]
    block = Repeat(2, (Fork(tuple(Level((place,)) for place in places), ()),))
    drawn = figure(
        Outline("Model", 32, (block,)),
        "by size",
        {"h.0.mlp.up": 1.0, "h.1.mlp.up": None},
        {"std": {"h.0.mlp.up": 0.5, "h.1.mlp.up": 0.25}},
    )
    (found,) = drawn.parts
    assert (found.name, found.times) == ("h.0…1", 2)
    norm, up = (row.boxes[0] for row in found.parts[0].parts)
    assert (norm.label, norm.kind, norm.told) == ("ln", "norm", [])
    assert (up.name, up.label) == ("h.0…1.mlp.up", "mlp.up")
    assert (up.told, up.sizes) == ([("std", (0.25, 0.5))], [1.0, None])


def test_a_plan_holds_the_outline_and_a_loaded_one_does_not():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    plan = isoinit.plan(model, torch.zeros(3, 8))
    loaded = isoinit.Plan.from_json(plan.to_json())
    assert (plan.outline.model, plan.outline.elements) == ("Sequential", 72 + 18)
    assert plan._page().title == "Plan of Sequential"
    assert plan._page().figure is not None
    assert loaded.outline is None
    assert loaded == plan
    assert loaded._page().figure is None


def test_jax_has_one_too():
    params = {"w1": np.ones((8, 8), "f4"), "w2": np.ones((8, 2), "f4")}

    def apply(params, x):
        return np.tanh(1) * (x @ params["w1"]) @ params["w2"]

    plan = ij.plan(apply, params, np.ones((3, 8), "f4"))
    assert [short(part) for part in plan.outline.parts] == [["w1"], ["w2"]]
    assert plan.outline.model == "apply"


def names_in(parts):
    """Every name of an outline."""
    for part in parts:
        if isinstance(part, Level):
            yield from (name for place in part.places for name in place.names)
        else:
            yield from names_in(part.parts)
            yield from names_in(part.skip if isinstance(part, Fork) else ())


@pytest.mark.parametrize("name", ZOO)
def test_every_layer_is_drawn_once(name):
    torch.manual_seed(0)
    build, batch, _ = ZOO[name]
    graph = trace(build(), batch)
    layers = [op for op in graph.ops if is_layer(graph, op)]
    assert len(list(names_in(outline(graph, name).parts))) == len(layers) > 0
