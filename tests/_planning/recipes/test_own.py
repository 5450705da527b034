"""`recipe="own"`: what each family's source says it draws, worked out by hand from that source."""

import functools
import math
from dataclasses import replace
from fnmatch import fnmatchcase

import pytest
import torch
from torch import nn

import isoinit
from isoinit import Constant, Normal, Ones, Uniform, Zeros
from isoinit.errors import ArgumentError, PlanError
from older_transformers import unless_older

transformers = pytest.importorskip("transformers")

D, FF, VOCAB, LAYERS = 32, 48, 50, 2  # width, hidden width, tokens, blocks
TOKENS = {"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 1}


def gpt2():
    config = transformers.GPT2Config(n_layer=LAYERS, n_head=2, n_embd=D, n_positions=16, **TOKENS)
    return transformers.GPT2LMHeadModel(config)


def llama_like(prefix, **extra):
    sizes = {"num_hidden_layers": LAYERS, "hidden_size": D, "intermediate_size": FF}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 3}
    config = getattr(transformers, f"{prefix}Config")(**sizes, **heads, **TOKENS, **extra)
    return getattr(transformers, f"{prefix}ForCausalLM")(config)


def encoder(prefix, head, **extra):
    sizes = {"num_hidden_layers": LAYERS, "hidden_size": D, "intermediate_size": FF}
    config = getattr(transformers, f"{prefix}Config")(**sizes, num_attention_heads=4, **extra)
    return getattr(transformers, f"{prefix}{head}")(config)


def t5():
    config = transformers.T5Config(
        d_model=D, d_kv=6, d_ff=FF, num_layers=LAYERS, num_heads=4, vocab_size=VOCAB
    )
    return transformers.T5ForConditionalGeneration(config)


def mamba():
    config = transformers.MambaConfig(
        hidden_size=D, num_hidden_layers=LAYERS, rescale_prenorm_residual=True, **TOKENS
    )
    return transformers.MambaForCausalLM(config)


def whisper():
    sides = {f"{s}_{k}": v for s in ("encoder", "decoder") for k, v in
             (("layers", 1), ("attention_heads", 2), ("ffn_dim", FF))}  # fmt: skip
    tokens = {**TOKENS, "pad_token_id": 0, "decoder_start_token_id": 1}
    return transformers.WhisperModel(transformers.WhisperConfig(d_model=D, **sides, **tokens))


def wav2vec2():
    return encoder(
        "Wav2Vec2",
        "Model",
        conv_dim=(8, 8),
        conv_kernel=(3, 3),
        conv_stride=(2, 2),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )


NORMAL = Normal(std=0.02)
BIAS, SCALE = {"*bias": Zeros()}, {"*norm*.weight": Ones()}
# A model, and initializers by pattern; the first that matches a name counts. None: left as it was.
FAMILIES = {
    # modeling_gpt2.py: c_proj is drawn again with initializer_range / sqrt(2 · n_layer)
    "GPT-2": (
        gpt2,
        {
            "*.ln_*.weight": Ones(),
            **BIAS,
            "*c_proj.weight": Normal(std=0.02 / math.sqrt(2 * LAYERS)),
            "*": NORMAL,
        },
    ),
    "Llama": (lambda: llama_like("Llama"), {**SCALE, "*": NORMAL}),
    "Mixtral": (lambda: llama_like("Mixtral", num_local_experts=2), {**SCALE, "*": NORMAL}),
    "BERT": (
        lambda: encoder("Bert", "ForMaskedLM", vocab_size=VOCAB),
        {"*LayerNorm.weight": Ones(), **BIAS, "*": NORMAL},
    ),
    # trunc_normal_ with a std of 0.02 cuts at ±2, which is at 100 deviations
    "ViT": (
        lambda: encoder("ViT", "ForImageClassification", image_size=32, patch_size=8),
        {"*layernorm*.weight": Ones(), **BIAS, "*": NORMAL},
    ),
    # modeling_t5.py; d_kv = 6, four heads
    "T5": (
        t5,
        {
            "shared.weight": Normal(),
            "*layer_norm.weight": Ones(),
            "*.q.weight": Normal(std=(D * 6) ** -0.5),
            "*.[kv].weight": Normal(std=D**-0.5),
            "*.o.weight": Normal(std=24**-0.5),
            "*relative_attention_bias.weight": Normal(std=D**-0.5),
            "*.wi.weight": Normal(std=D**-0.5),
            "*.wo.weight": Normal(std=FF**-0.5),
        },
    ),
    # modeling_mamba.py: d_inner = 64, dt_rank = 2; kaiming_uniform_(a=√5) is U(±1/√fan_in); out_proj
    # is then divided by √layers. dt_proj.bias is no initializer's law, but a uniform one up to 1 %.
    "Mamba": (
        mamba,
        {
            "*A_log": None,
            "*.D": Ones(),
            "*norm*.weight": Ones(),
            "*conv1d.weight": Uniform(-0.5, 0.5),
            "*conv1d.bias": Zeros(),
            "*dt_proj.weight": Uniform(-(2**-0.5), 2**-0.5),
            "*dt_proj.bias": ...,
            "*out_proj.weight": Uniform(-0.125 / math.sqrt(LAYERS), 0.125 / math.sqrt(LAYERS)),
            "*": Normal(std=0.1),
        },
    ),
    "Whisper": (
        whisper,
        {
            "encoder.embed_positions.weight": None,  # sines
            "*norm.weight": Ones(),
            **BIAS,
            "*": NORMAL,
        },
    ),
    # modeling_wav2vec2.py; what weight normalization splits is computed, and a write to it is lost
    "Wav2Vec2": (
        wav2vec2,
        {
            "masked_spec_embed": Uniform(),
            "*original?": None,
            "*conv_layers.0.conv.weight": Normal(std=math.sqrt(2 / 3)),
            "*conv_layers.1.conv.weight": Normal(std=math.sqrt(2 / 24)),
            "feature_projection.projection.*": Uniform(-(8**-0.5), 8**-0.5),
            "*layer_norm.weight": Ones(),
            **BIAS,
            "*": NORMAL,
        },
    ),
}


def same(found, expected):
    """Whether two initializers are the same up to float32's rounding of their numbers."""
    if found is None or expected is None or type(found) is not type(expected):
        return found is expected
    numbers = (vars(found).values(), vars(expected).values())
    return all(a == pytest.approx(b, rel=1e-6) for a, b in zip(*numbers, strict=True))


def snapshot(model):
    return {
        name: (tensor, tensor.clone(), tensor._version, tensor.requires_grad)
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }


@functools.cache
def planned(family, device="cpu"):
    """The plan of a family's model; the model stays on its device."""
    with torch.device(device):
        model = FAMILIES[family][0]()
    places = [p.device for p in model.parameters()]
    plan = isoinit.plan(model, recipe="own")
    assert [p.device for p in model.parameters()] == places
    return plan


# transformers 5.10 draws c_proj of GPT-2 once, and masked_spec_embed outside of `_init_weights`.
LATER = ("GPT-2", "Wav2Vec2")


@pytest.mark.parametrize(
    "family", [unless_older(family) if family in LATER else family for family in FAMILIES]
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_families(family, device):
    expected, plan = FAMILIES[family][1], planned(family, device)
    assert plan.method == "own"
    for entry in plan:
        pattern = next(p for p in expected if fnmatchcase(entry.name, p))
        wanted = expected[pattern]
        if wanted is not ...:
            assert same(entry.initializer, wanted), (entry.name, entry.initializer, entry.reason)
        if entry.initializer is not None:
            assert entry.source == "the model's own _init_weights"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_filled_model_is_like_a_constructed_one(family):
    """Means and deviations of both agree within six standard errors: one alarm in 10^8 or fewer."""
    make, _ = FAMILIES[family]
    torch.manual_seed(1)
    constructed, filled = make(), make()
    planned(family).apply(filled, seed=0)
    others = dict(constructed.named_parameters())
    for name, p in filled.named_parameters():
        a, b = p.detach().double(), others[name].detach().double()
        if b.std(correction=0) == 0:
            torch.testing.assert_close(a, b)
        elif b.numel() >= 30 and "original" not in name:
            error = float(b.std()) * math.sqrt(2 / b.numel())
            assert abs(a.mean() - b.mean()) < 6 * error, name
            assert abs(a.std() - b.std()) < 6 * error, name


def test_padding_rows_stay_zero():
    model = llama_like("Llama")
    assert isoinit.plan(model, recipe="own")["model.embed_tokens.weight"].layout.padding == 3
    isoinit.init(model, recipe="own", seed=0)
    assert not model.model.embed_tokens.weight[3].any()
    assert model.model.embed_tokens.weight[2].all()


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, 4)
        self.conv = nn.Conv2d(4, 8, 3, groups=2)
        self.lstm = nn.LSTM(5, 9)
        self.attention = nn.MultiheadAttention(8, 2)
        self.table = nn.Embedding(7, 8, padding_idx=2)
        self.norm = nn.BatchNorm2d(4)
        self.slope = nn.PReLU()


def test_layers_of_torch():
    """torch's source: U(±1/√fan_in), U(±1/√hidden); Xavier on the packed shape; N(0, 1)."""
    packed = math.sqrt(6 / (24 + 8))
    expected = {
        "linear.*": Uniform(-0.25, 0.25),
        "conv.*": Uniform(-1 / math.sqrt(18), 1 / math.sqrt(18)),
        "lstm.*": Uniform(-1 / 3, 1 / 3),
        "attention.in_proj_weight": Uniform(-packed, packed),
        "attention.*bias": Zeros(),
        "attention.out_proj.weight": Uniform(-(8**-0.5), 8**-0.5),
        "table.weight": Normal(),
        "norm.weight": Ones(),
        "norm.bias": Zeros(),
        "slope.weight": Constant(0.25),
    }
    plan = isoinit.plan(Layers(), recipe="own")
    for entry in plan:
        wanted = next(v for p, v in expected.items() if fnmatchcase(entry.name, p))
        assert same(entry.initializer, wanted), (entry.name, entry.initializer)
    assert plan["table.weight"].layout.padding == 2
    assert "Linear" in plan["linear.weight"].source
    assert not plan.warnings


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_short_and_long_types(dtype):
    plan = isoinit.plan(Layers().to(dtype), recipe="own")
    assert same(plan["linear.weight"].initializer, Uniform(-0.25, 0.25))
    assert plan["slope.weight"].initializer == Constant(0.25)


class NanoGpt(nn.Module):
    """Goes over its layers with a function of one module, as many do."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8))
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.05)

    def forward(self, x):
        return self.body(x)


def test_a_function_of_one_module():
    plan = isoinit.plan(NanoGpt(), torch.zeros(1, 8), recipe="own")
    assert plan["body.0.weight"].initializer == Normal(std=0.05)
    assert plan["body.0.weight"].source == "the model's own _init_weights"
    assert same(plan["body.0.bias"].initializer, Uniform(-(8**-0.5), 8**-0.5))
    assert "Linear" in plan["body.0.bias"].source


class ByHand(nn.Module):
    """Initializes in its constructor, as torchvision's ResNet does."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")


FUNCTIONAL = [  # of a weight of 8 × 4: fan_in 4, fan_out 8
    ("kaiming_normal_", {"nonlinearity": "relu"}, Normal(std=math.sqrt(2 / 4))),
    ("kaiming_normal_", {"mode": "fan_avg", "nonlinearity": "linear"}, Normal(std=6**-0.5)),
    ("kaiming_uniform_", {"a": math.sqrt(5)}, Uniform(-0.5, 0.5)),
    ("xavier_uniform_", {}, Uniform(-math.sqrt(6 / 12), math.sqrt(6 / 12))),
    ("trunc_normal_", {"a": -1.0, "b": 1.0}, isoinit.TruncatedNormal(0.0, 1.0, -1.0, 1.0)),
    ("trunc_normal_", {"std": 0.0}, Zeros()),
    ("orthogonal_", {"gain": 2.0}, isoinit.Orthogonal(2.0)),
    ("uniform_", {"a": -0.1, "b": 0.3}, Uniform(-0.1, 0.3)),
    ("eye_", {}, isoinit.Identity()),
    ("constant_", {"val": 0.3}, Constant(0.3)),
]


@pytest.mark.parametrize(("name", "numbers", "law"), FUNCTIONAL)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_module_that_draws_by_the_librarys_own_functions(name, numbers, law, device):
    class Fills(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.empty(8, 4))
            self.reset_parameters()

        def reset_parameters(self):
            getattr(isoinit.functional, name)(self.w, **numbers)

    with torch.device(device):
        model = Fills()
    got = isoinit.plan(model, recipe="own")["w"].initializer
    assert type(got) is type(law)
    assert vars(got) == pytest.approx(vars(law), rel=1e-5)
    assert isoinit.audit(Fills).findings == []


def test_a_constructor_that_fills_cannot_be_seen():
    plan = isoinit.plan(nn.Sequential(ByHand()), recipe="own")
    assert any("constructor of ByHand" in w and "kaiming_normal_" in w for w in plan.warnings)
    assert not isoinit.plan(NanoGpt(), recipe="own").warnings


def test_a_backbone_of_transformers_under_another_head():
    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = encoder("Bert", "Model", vocab_size=VOCAB)
            self.head = nn.Linear(16, 2)

    plan = isoinit.plan(Classifier(), recipe="own")
    assert plan["backbone.pooler.dense.weight"].initializer == NORMAL
    assert same(plan["head.weight"].initializer, Uniform(-0.25, 0.25))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_is_as_it_was(family):
    model = FAMILIES[family][0]()
    next(model.parameters()).requires_grad_(False)
    before, attributes = snapshot(model), [dict(vars(m)) for m in model.modules()]
    flags = [getattr(p, "_is_hf_initialized", None) for p in model.parameters()]
    state = torch.get_rng_state()
    isoinit.plan(model, recipe="own")
    after = snapshot(model)
    assert list(before) == list(after)
    for name, (tensor, values, version, grad) in before.items():
        assert after[name][0] is tensor
        assert torch.equal(values, tensor)
        assert (tensor._version, tensor.requires_grad) == (version, grad)
    assert [dict(vars(m)) for m in model.modules()] == attributes
    assert [getattr(p, "_is_hf_initialized", None) for p in model.parameters()] == flags
    assert torch.equal(torch.get_rng_state(), state)


def test_the_same_plan_every_time():
    first = replace(planned("Mamba"), seed=None).to_json()
    torch.manual_seed(4)
    assert isoinit.plan(mamba(), recipe="own").to_json() == first
    assert isoinit.Plan.from_json(first).to_json() == first


def test_a_large_model_needs_memory_for_one_parameter():
    """1.07 G parameters on the meta device, 128 MiB the largest: read with less than 1.5 GiB more."""
    resource = pytest.importorskip("resource")
    with torch.device("meta"):
        model = nn.Sequential(*(nn.Linear(8192, 4096, bias=False) for _ in range(32)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plan = isoinit.plan(model, recipe="own")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1.5 * 2**20  # KiB
    assert same(plan["31.weight"].initializer, Uniform(-(8192**-0.5), 8192**-0.5))


def test_a_wrapped_model_gets_the_plan_of_the_bare_one():
    model = NanoGpt()
    bare = isoinit.plan(model, recipe="own").entries
    assert isoinit.plan(torch.compile(model), recipe="own").entries == bare


def test_under_deferred_what_is_left_gets_its_constructors_values():
    with isoinit.deferred():
        model = mamba()
    isoinit.init(model, recipe="own", seed=0)
    torch.testing.assert_close(
        model.backbone.layers[1].mixer.A_log[5].detach(), torch.arange(1.0, 17.0).log()
    )


def test_whatever_the_caller_has_set():
    model, expected = mamba(), planned("Mamba").entries
    with torch.inference_mode(), torch.device("meta"):
        assert isoinit.plan(model, recipe="own").entries == expected


def test_inside_deferred():
    with isoinit.deferred(), pytest.raises(PlanError, match="after the block"):
        isoinit.plan(nn.Linear(2, 2), recipe="own")


def test_a_model_without_one():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))

    with pytest.raises(PlanError, match=r"Bare has no initialization of its own.*_init_weights"):
        isoinit.init(Bare(), recipe="own", seed=0)


def test_wrong_use():
    model = nn.Linear(2, 2)
    with pytest.raises(ArgumentError, match=r"recipe='mine': expected one of own"):
        isoinit.plan(model, recipe="mine")
    with pytest.raises(ArgumentError, match=r"recipe='own' and method='he'"):
        isoinit.plan(model, recipe="own", method="he")
    assert isoinit.plan(model, recipe="own", method="auto").method == "own"
