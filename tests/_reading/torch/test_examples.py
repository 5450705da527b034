"""Examples made for models that tell what they take, and a guess where they don't."""

import pytest
import torch
from torch import nn
from transformers import (
    BartConfig,
    BartModel,
    CLIPConfig,
    CLIPModel,
    GPT2Config,
    GPT2Model,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTModel,
    WhisperConfig,
    WhisperModel,
)

import isoinit
from isoinit._reading.torch.examples import needed


class Two(nn.Module):
    """Takes two arguments: there is no telling what."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x, steps):
        for _ in range(steps):
            x = torch.relu(self.a(x))
        return self.b(x)


class Wrapped(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x, scale=1.0):
        return self.body(x) * scale


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
        nn.Sequential(nn.Conv1d(3, 8, 5), nn.ReLU(), nn.Conv1d(8, 8, 5)),
        nn.Sequential(nn.Conv2d(3, 8, 7, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 5)),
        nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU()),
        nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9)),
        nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 9)),
        nn.Sequential(nn.Linear(4, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)),
        nn.LSTM(4, 8),
        nn.GRU(4, 8, batch_first=True),
        nn.Linear(3, 3),
        Wrapped(nn.Linear(4, 8), nn.GELU()),
        nn.Sequential(  # the classifier fixes the size of the image
            nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16 * 16, 2)
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_from_the_first_layer(model):
    plan = isoinit.plan(model)
    assert plan.how == "fake"
    assert plan.notes == ()
    assert isoinit.plan(model) == plan


def small(kind, **sizes):
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return kind(**sizes, **ends)


TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
}
VISION = {key: value for key, value in TEXT.items() if key != "vocab_size"}


def transformers_models():
    vision = {**VISION, "image_size": 16, "patch_size": 8}
    speech = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "num_mel_bins": 8}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    return [
        GPT2Model(small(GPT2Config, n_layer=1, n_embd=32, n_head=4, vocab_size=64)),
        ViTModel(ViTConfig(**vision)),
        ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])),
        CLIPModel(CLIPConfig(text_config=TEXT, vision_config=vision, projection_dim=16)),
        BartModel(
            small(
                BartConfig, vocab_size=64, d_model=32, encoder_layers=1, decoder_layers=1, **heads
            )
        ),
        WhisperModel(
            small(WhisperConfig, vocab_size=64, max_source_positions=20, **speech, **heads)
        ),
    ]


@pytest.mark.parametrize("model", transformers_models(), ids=lambda model: type(model).__name__)
def test_from_the_config_of_a_transformers_model(model):
    plan = isoinit.plan(model.eval())
    assert plan.how == "fake"
    assert plan.notes == ()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_in_the_type_of_the_model(dtype):
    assert isoinit.plan(nn.Sequential(nn.Linear(4, 8), nn.ReLU()).to(dtype)).how == "fake"


def test_on_the_meta_device():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    assert isoinit.plan(model).how == "fake"


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Two(), ["Two", "x, steps", "a tuple of arguments"]),
        (nn.Sequential(nn.Unflatten(1, (5, 2)), nn.Linear(2, 2)), ["Sequential", "input"]),
    ],
)
def test_where_there_is_no_telling_the_plan_is_a_guess_and_says_what_to_pass(model, says):
    plan = isoinit.plan(model)
    assert plan.how == "structure"
    assert all("guess" in entry.reason for entry in plan)
    for text in says:
        assert text in plan.warnings[0]


def test_needed_arguments():
    assert needed(Two()) == ["x", "steps"]
    assert needed(Wrapped()) == ["x"]
    assert needed(nn.Sequential()) == ["input"]
