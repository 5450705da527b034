"""`recipe="paper:..."`: the published numbers, on models of several libraries and by hand."""

import math
from fnmatch import fnmatchcase

import pytest
import torch
from torch import nn

import isoinit
from isoinit import LeCunNormal, Normal, Ones, TruncatedNormal, XavierUniform, Zeros
from isoinit.errors import ArgumentError, PlanError
from older_transformers import unless_older
from zoo import vision

transformers = pytest.importorskip("transformers")

D, FF, LAYERS = 32, 48, 3
IDS = torch.zeros(1, 5, dtype=torch.long)
IMAGE = torch.zeros(1, 3, 32, 32)


class Block(nn.Module):
    """A pre-norm transformer block with torch's attention."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.attention = nn.MultiheadAttention(D, 4, batch_first=True)
        self.up, self.down = nn.Linear(D, FF), nn.Linear(FF, D)

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(50, D), nn.Embedding(16, D)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(D)
        self.head = nn.Linear(D, 50, bias=False)

    def forward(self, ids):
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(x)))


class Vit(nn.Module):
    """With a linear projection of patches, and a class token."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Linear(192, D)
        self.token = nn.Parameter(torch.zeros(1, 1, D))
        self.places = nn.Parameter(torch.zeros(1, 17, D))
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(D)
        self.head = nn.Linear(D, 10)

    def forward(self, image):
        x = image.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(1, 16, 192)
        x = torch.cat([self.token, self.patches(x)], dim=1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


def hugging_gpt2():
    tokens = {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 1}
    config = transformers.GPT2Config(n_layer=LAYERS, n_head=4, n_embd=D, n_positions=16, **tokens)
    return transformers.GPT2LMHeadModel(config)


def hugging(prefix, head, **extra):
    sizes = {"num_hidden_layers": LAYERS, "hidden_size": D, "intermediate_size": FF}
    config = getattr(transformers, f"{prefix}Config")(**sizes, num_attention_heads=4, **extra)
    return getattr(transformers, f"{prefix}{head}")(config)


BY_DEPTH = Normal(std=0.02 / math.sqrt(2 * LAYERS))
BERT = TruncatedNormal(std=0.02)


def lecun(fan_in):
    """flax: jax.nn.initializers.lecun_normal divides by the deviation of a normal cut at ±2."""
    return TruncatedNormal(std=1 / math.sqrt(fan_in) / 0.87962566103423978)


def he(n_out, size):
    return Normal(std=math.sqrt(2 / (n_out * size * size)))


# Recipe, model, batch, and initializers by pattern; the first that matches counts.
CASES = {
    "GPT-2 of transformers": (
        "paper:gpt2",
        hugging_gpt2,
        None,
        {
            "*bias": Zeros(),
            "*.ln_*": Ones(),
            "*wpe.weight": Normal(std=0.01),
            "*c_proj.weight": BY_DEPTH,
            "*": Normal(std=0.02),
        },
    ),
    "GPT by hand": (
        "paper:gpt2",
        Gpt,
        IDS,
        {
            "*bias": Zeros(),
            "*norm*.weight": Ones(),
            "places.weight": Normal(std=0.01),
            "*out_proj.weight": BY_DEPTH,
            "*down.weight": BY_DEPTH,
            "*": Normal(std=0.02),
        },
    ),
    "Llama": (
        "paper:llama",
        lambda: hugging("Llama", "ForCausalLM", vocab_size=50),
        None,
        {"*norm*.weight": Ones(), "*": Normal(std=0.02)},
    ),
    "BERT": (
        "paper:bert",
        lambda: hugging("Bert", "ForMaskedLM", vocab_size=50),
        None,
        {"*bias": Zeros(), "*LayerNorm.weight": Ones(), "*": BERT},
    ),
    "ViT of transformers": (
        "paper:vit",
        lambda: hugging("ViT", "ForImageClassification", image_size=32, patch_size=8),
        None,
        {
            "*cls_token": Zeros(),
            "*position_embeddings": Normal(std=0.02),
            "*projection.weight": lecun(192),
            "*layernorm*.weight": Ones(),
            "*.mlp.*.bias": Normal(std=1e-6),
            "classifier.*": Zeros(),
            "*bias": Zeros(),
            "*": XavierUniform(),
        },
    ),
    "ViT by hand": (
        "paper:vit",
        Vit,
        IMAGE,
        {
            "token": Zeros(),
            "places": Normal(std=0.02),
            "patches.weight": lecun(192),
            "*norm*.weight": Ones(),
            "*up.bias": Normal(std=1e-6),
            "*down.bias": Normal(std=1e-6),
            "head.*": Zeros(),
            "*bias": Zeros(),
            "*": XavierUniform(),
        },
    ),
    "ResNet-50": (
        "paper:resnet",
        vision.ResNet50,
        IMAGE.expand(2, 3, 32, 32),
        {
            "*.bias": Zeros(),
            "*bn3.weight": Zeros(),
            "*bn?.weight": Ones(),
            "*downsample.1.weight": Ones(),
            "fc.weight": Normal(std=0.01),
            "conv1.weight": he(64, 7),
            "layer1.*conv2.weight": he(64, 3),
            "layer4.*conv2.weight": he(512, 3),
            "layer4.*conv3.weight": he(2048, 1),
            "layer4.0.downsample.0.weight": he(2048, 1),
            "*": ...,
        },
    ),
}


@pytest.mark.parametrize(
    "case", [unless_older(case) if "of transformers" in case else case for case in CASES]
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_published_numbers(case, device):
    recipe, make, batch, expected = CASES[case]
    with torch.device(device):
        model = make()
    plan = isoinit.plan(model, batch, recipe=recipe)
    assert plan.method == recipe
    for entry in plan:
        wanted = next(v for p, v in expected.items() if fnmatchcase(entry.name, p))
        if wanted is ...:
            continue
        assert type(entry.initializer) is type(wanted), (entry.name, entry.initializer)
        for a, b in zip(vars(entry.initializer).values(), vars(wanted).values(), strict=True):
            assert a == pytest.approx(b, rel=1e-9), entry.name
        assert entry.source
    assert not plan.warnings


def test_packed_projections_have_the_fans_of_one():
    """flax's query, key and value are layers of their own: Xavier with 2 · 32, not 32 + 96."""
    plan = isoinit.plan(Vit(), IMAGE, recipe="paper:vit")
    assert plan["blocks.0.attention.in_proj_weight"].std == pytest.approx(math.sqrt(2 / 64))


def test_what_a_paper_does_not_speak_of_is_the_rule_books():
    class WithMemory(Gpt):
        def __init__(self):
            super().__init__()
            self.memory = nn.LSTM(D, D, batch_first=True)

        def forward(self, ids):
            x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
            return self.head(self.norm(self.blocks(self.memory(x)[0])))

    plan = isoinit.plan(WithMemory(), IDS, recipe="paper:gpt2")
    assert plan["memory.weight_ih_l0"].initializer == LeCunNormal()
    assert plan["memory.weight_ih_l0"].reason.startswith("the recipe does not cover it")
    assert plan["head.weight"].initializer == Normal(std=0.02)


@pytest.mark.parametrize(
    ("recipe", "make", "batch", "missing"),
    [
        ("paper:resnet", Gpt, IDS, "no convolutions, no residual sums whose branch ends in a norm"),
        ("paper:gpt2", vision.ResNet50, IMAGE.expand(2, 3, 32, 32), "no embedding"),
        ("paper:vit", Gpt, IDS, "no projection of patches"),
        ("paper:bert", lambda: nn.Linear(2, 2), torch.zeros(1, 2), "no embedding, no weights that"),
    ],
)
def test_a_recipe_that_does_not_fit(recipe, make, batch, missing):
    model = make()
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(PlanError, match=f"recipe='{recipe}' does not fit the model.*{missing}"):
        isoinit.init(model, batch, recipe=recipe, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_model_that_was_not_run():
    class Two(Gpt):
        def forward(self, ids, other):
            return super().forward(ids)

    with pytest.raises(PlanError, match="Pass a batch"):
        isoinit.plan(Two(), recipe="paper:gpt2")


def test_wrong_use():
    with pytest.raises(
        ArgumentError, match=r"'paper:gpt5': expected one of own, paper:gpt2, .*vit"
    ):
        isoinit.plan(Gpt(), IDS, recipe="paper:gpt5")
    with pytest.raises(ArgumentError, match="Leave method at 'auto'"):
        isoinit.init(Gpt(), IDS, recipe="paper:gpt2", method="he", seed=0)
