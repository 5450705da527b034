"""Models built under `isoinit.deferred` are, after a plan, those built without it."""

import copy
import gc
import math
import sys
import threading
import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import isoinit
from isoinit._drawing.streams import Stream
from isoinit._reading.torch.names import named_parameters
from isoinit._writing.postponed import as_constructed, unfilled
from isoinit.errors import PlanError

transformers = pytest.importorskip("transformers")
IDS = {"input_ids": torch.zeros(1, 8, dtype=torch.long)}
RANDOM = ("normal", "uniform", "rand", "bernoulli", "exponential", "geqrf", "qr")


class Tagger(nn.Module):
    """Every kind of layer that torch fills in a way of its own."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16, padding_idx=3)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True, add_bias_kv=True)
        self.conv = nn.Conv1d(16, 16, 3, padding=1)
        self.norm = nn.BatchNorm1d(16)
        self.scale = nn.Parameter(torch.full((16,), 1e-4))
        self.decay = nn.Parameter(torch.arange(1, 17).float().log())
        self.head = nn.Linear(16, 5)
        nn.init.orthogonal_(self.lstm.weight_hh_l0)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("noise", torch.zeros(4).normal_(5, 0.1), persistent=False)

    def forward(self, tokens):
        x, _ = self.lstm(self.embed(tokens))
        x = x + self.attention(x, x, x)[0] * self.scale
        x = self.norm(self.conv(x.transpose(1, 2))).transpose(1, 2)
        return self.head(x * torch.exp(-torch.exp(self.decay)))


def hand_written():
    return Tagger(), torch.ones(4, 6, dtype=torch.long)


def gpt2():
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=64, vocab_size=100)
    return transformers.AutoModelForCausalLM.from_config(config), IDS


def llama():
    config = transformers.LlamaConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=99,
    )
    return transformers.LlamaForCausalLM(config), IDS


def mamba():
    config = transformers.MambaConfig(hidden_size=64, num_hidden_layers=2, vocab_size=99)
    return transformers.MambaForCausalLM(config), IDS


def vit():
    config = transformers.ViTConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        image_size=32,
    )
    return transformers.ViTForImageClassification(config), torch.zeros(2, 3, 32, 32)


def t5():
    config = transformers.T5Config(d_model=64, d_ff=96, d_kv=16, num_layers=2, num_heads=4)
    return transformers.T5ForConditionalGeneration(config), {
        **IDS,
        "decoder_input_ids": IDS["input_ids"],
    }


def bert():
    config = transformers.BertConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96
    )
    return transformers.BertForSequenceClassification(config), IDS


BUILDS = [hand_written, gpt2, llama, mamba, vit, t5, bert]


class Fills(TorchDispatchMode):
    """Notes each random or factorizing operation that reaches torch's kernels."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        size = result.numel() if isinstance(result, torch.Tensor) else 0
        if any(word in name for word in RANDOM):
            self.seen.append((name, size))
        return result


def built(build, seed):
    torch.manual_seed(seed)
    return build()[0]


def later(build):
    with isoinit.deferred():
        return build()


@pytest.mark.parametrize("build", BUILDS)
def test_the_model_after_a_plan_is_that_of_a_normal_build(build):
    normal, other = built(build, 1), built(build, 2)
    model, batch = later(build)
    found, expected = dict(model.named_buffers()), dict(normal.named_buffers())
    second = dict(other.named_buffers())
    assert set(found) == set(expected)
    for name, buffer in expected.items():
        if torch.equal(buffer, second[name]):
            assert torch.equal(found[name], buffer), name

    (before, _), (again, _) = named_parameters(normal), named_parameters(other)
    fixed = {n: p.detach().clone() for n, p in before.items() if torch.equal(p, again[n])}
    plan = isoinit.init(model, batch, seed=7)
    isoinit.init(normal, batch, seed=7)
    for name, parameter in named_parameters(model)[0].items():
        if plan[name].initializer is not None:
            assert torch.equal(parameter, before[name]), name
        elif name in fixed:
            assert torch.equal(parameter, fixed[name]), name
    assert not unfilled(named_parameters(model)[0])
    assert list(model.state_dict()) == list(normal.state_dict())


@pytest.mark.parametrize("build", BUILDS)
def test_no_parameter_is_filled_at_random_inside(build):
    with Fills() as normally:
        build()
    with Fills() as fills, isoinit.deferred():
        model, _ = build()
    weights = {p.numel() for p in model.parameters() if p.ndim > 1}
    assert weights & {size for _, size in normally.seen}  # the instrument sees them
    assert not weights & {size for name, size in fills.seen if name.endswith("_") or "qr" in name}
    drawn = sum(size for _, size in fills.seen)  # buffers, and parameters made of drawn data
    assert drawn < 0.05 * sum(p.numel() for p in model.parameters())


def test_what_a_constructor_computes_is_true_before_any_plan():
    model, _ = later(hand_written)
    assert torch.equal(model.scale, torch.full((16,), 1e-4))
    assert torch.equal(model.decay, torch.arange(1, 17).float().log())
    assert abs(model.noise.mean() - 5) < 1  # 20 standard errors
    assert torch.equal(model.norm.weight, torch.ones(16))  # constants are no waste worth saving
    mixer = later(mamba)[0].backbone.layers[0].mixer
    states = torch.arange(1, mixer.A_log.shape[1] + 1).float().log()
    assert torch.equal(mixer.A_log, states.expand_as(mixer.A_log))
    assert torch.equal(mixer.D, torch.ones_like(mixer.D))
    steps = nn.functional.softplus(mixer.dt_proj.bias)
    assert steps.min() > 0.9e-3
    assert steps.max() < 0.11


def test_a_fill_that_is_read_runs_first():
    with isoinit.deferred():
        source = nn.Linear(200, 200)
        nn.init.normal_(source.weight, mean=3.0)
        layer = nn.Linear(200, 200)
        with torch.no_grad():
            layer.weight.copy_(source.weight * 2)
        frozen = nn.Module()
        frozen.register_buffer("projection", nn.Linear(200, 200).weight.data)
        block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        clones = nn.TransformerEncoder(block, 3)
    assert abs(source.weight.mean() - 3) < 0.05  # 10 standard errors, as below
    assert abs(layer.weight.mean() - 6) < 0.1
    assert frozen.projection.std().item() == pytest.approx(1 / math.sqrt(3 * 200), rel=0.05)
    first, last = clones.layers[0].linear1.weight, clones.layers[2].linear1.weight
    assert torch.equal(first, last)
    assert first.std() > 0.05
    names = unfilled({"source": source.weight, "layer": layer.weight, "last": last})
    assert names == []


class Gated(nn.Module):
    """Its `rate` acts through a function of itself, which no rule knows."""

    def __init__(self):
        super().__init__()
        self.rate = nn.Parameter(torch.empty(5000))
        nn.init.normal_(self.rate)
        with torch.no_grad():
            self.rate *= 2
            self.rate.data.add_(1)
            self.rate[:10] = 0
        self.out = nn.Linear(5000, 2)

    def forward(self, x):
        return self.out(x * torch.sigmoid(torch.exp(self.rate)))


@pytest.mark.parametrize("convert", [None, "half", "deepcopy inside"])
def test_what_the_plan_leaves_gets_the_constructors_own_fill(convert):
    def make(seed):
        with isoinit.deferred():
            model = Gated()
            if convert == "deepcopy inside":
                model = copy.deepcopy(model)
        if convert == "half":
            model.half()
        batch = torch.ones(1, 5000, dtype=model.rate.dtype)
        state = torch.get_rng_state()
        plan = isoinit.init(model, batch, seed=seed)
        assert plan["rate"].initializer is None
        assert torch.equal(state, torch.get_rng_state())
        return model

    rate = make(0).rate.detach().float()
    assert not rate[:10].any()
    assert abs(rate[10:].mean() - 1) < 0.2  # 7 standard errors
    assert abs(rate[10:].std() - 2) < 0.15
    if convert != "deepcopy inside":  # there the fill ran inside, as reading needs it
        assert torch.equal(rate, make(0).rate.float())
        assert not torch.equal(rate, make(1).rate.float())


def test_what_is_written_after_the_block_stays():
    with isoinit.deferred():
        model = Gated()
    nn.init.constant_(model.rate, 0.25)
    isoinit.init(model, torch.ones(1, 5000), seed=0)
    assert (model.rate == 0.25).all()


def test_a_second_block_knows_what_the_first_left():
    with isoinit.deferred():
        model = Gated()
    with isoinit.deferred():
        mean = model.rate.mean()
    assert abs(mean - 1) < 0.2


def test_check_refuses_what_nothing_has_filled():
    with isoinit.deferred():
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with pytest.raises(PlanError, match=r"'0\.weight' \(and 3 more\) .* isoinit\.init"):
        isoinit.check(model, torch.randn(8, 4))
    isoinit.init(model, torch.randn(8, 4), seed=0)
    isoinit.check(model, torch.randn(8, 4))


def is_normal():
    layer = nn.Linear(64, 64)
    layer.weight.data.fill_(7)
    nn.init.trunc_normal_(layer.weight, std=0.1)
    return layer.weight.detach().std() < 1 and not unfilled({"": layer.weight})


def test_all_is_as_before_on_leaving():
    init, hf = nn.init, sys.modules["transformers.initialization"]
    functions = [
        init.trunc_normal_,
        init.orthogonal_,
        init.sparse_,
        *hf.TORCH_INIT_FUNCTIONS.values(),
    ]
    with isoinit.deferred():
        with isoinit.deferred():
            nn.Linear(4, 4)
        inner = nn.Linear(64, 64)
        assert init.trunc_normal_ is not functions[0]
        other = []
        thread = threading.Thread(target=lambda: other.append(is_normal()))
        thread.start()
        thread.join()
    assert other == [True]
    assert unfilled({"weight": inner.weight})
    with pytest.raises(RuntimeError), isoinit.deferred():
        inner(torch.ones(1, 3))  # a wrong shape
    assert is_normal()
    now = [init.trunc_normal_, init.orthogonal_, init.sparse_, *hf.TORCH_INIT_FUNCTIONS.values()]
    assert all(a is b for a, b in zip(functions, now, strict=True))


def test_nothing_keeps_a_dropped_model_alive():
    with isoinit.deferred():
        model = nn.Linear(8, 8)
    memory = weakref.ref(model.weight)
    del model
    gc.collect()
    assert memory() is None


@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_", "xavier_uniform_"])
@pytest.mark.parametrize("through", ["parameter", "data", "row", "keyword"])
def test_each_way_to_a_parameter_is_seen(name, through):
    with Fills() as fills, isoinit.deferred():
        fill = getattr(nn.init, name)
        parameter = nn.Parameter(torch.empty(30, 40))
        if through == "keyword":
            fill(tensor=parameter)
        else:
            target = {"parameter": parameter, "data": parameter.data, "row": parameter[2:9]}
            fill(target[through])
    assert fills.seen == []
    assert unfilled({"parameter": parameter})


def test_a_function_taken_before_the_block_is_as_true():
    fill = nn.init.trunc_normal_
    with isoinit.deferred():
        weight = nn.Linear(100, 100).weight
        fill(weight, std=0.5, a=-1.0, b=1.0)
        buffer = fill(torch.empty(100, 100), mean=5.0, a=4.0, b=6.0)
    weight = as_constructed(weight, Stream(0, "weight"))  # by torch's version it is filled or waits
    assert weight.std().item() == pytest.approx(0.44, abs=0.02)
    assert abs(buffer.mean() - 5) < 0.05


def test_a_constant_over_a_postponed_fill_is_the_value():
    with isoinit.deferred():
        parameter = nn.Parameter(torch.empty(3, 2))
        nn.init.normal_(parameter)
        parameter.data.fill_(4)
    assert (parameter == 4).all()
    assert not unfilled({"parameter": parameter})


def test_meta_and_whole_numbers_are_left_alone():
    with isoinit.deferred():
        with torch.device("meta"):
            assert nn.Linear(3, 3).weight.is_meta
        numbers = nn.Parameter(torch.zeros(1000, dtype=torch.long), requires_grad=False)
        numbers.random_(1, 5)
        lazy = nn.LazyLinear(4)
    assert numbers.min() >= 1
    assert lazy(torch.ones(2, 3)).isfinite().all()


def test_fills_by_the_librarys_own_functions_wait_too():
    with isoinit.deferred():
        layer = nn.Linear(4, 4)
        isoinit.functional.kaiming_normal_(layer.weight)
        isoinit.functional.zeros_(layer.bias)
    assert set(unfilled(named_parameters(layer)[0])) == {"weight"}
    assert torch.equal(layer.bias, torch.zeros(4))
