"""Standard models with their own recipe: name -> a model, a batch, and a loss where it has none.

The first twenty were there when thresholds were set, the other ten were not. Both lists, and the
faults, were written down before the first run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
import transformers as hf
from evidence.signal import models as known
from evidence.signal.models import HEADS, LAYERS, SMALL, WIDTH, WORDS, words
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

Made = tuple[nn.Module, Any, Callable[[Any], torch.Tensor] | None]
CLASSES, BATCH = 10, 16
DECODER = {"num_key_value_heads": 2, **SMALL}


def pictures(channels: int = 3, size: int = 32) -> torch.Tensor:
    """Smooth random images: neighbouring pixels are alike, as in photographs."""
    coarse = torch.randn(BATCH, channels, size // 4, size // 4)
    smooth = nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return smooth / smooth.std() + 0.3 * torch.randn(BATCH, channels, size, size)


def labels(classes: int = CLASSES) -> torch.Tensor:
    """Random labels."""
    return torch.randint(classes, (BATCH,))


def classified(model: nn.Module, batch: Any) -> Made:
    """A classifier with cross-entropy."""
    wanted = labels()
    return model, batch, lambda output: cross_entropy(output, wanted)


def language(kind: str, config: str, **sizes: Any) -> Made:
    """A language model of `transformers` that is given its tokens as labels."""
    model = getattr(hf, kind)(getattr(hf, config)(vocab_size=WORDS, **sizes))
    tokens = words(BATCH, 32)
    return model, {"input_ids": tokens, "labels": tokens}, None


def seen(kind: str, config: str, size: int = 32, **sizes: Any) -> Made:
    """An image classifier of `transformers`."""
    model = getattr(hf, kind)(getattr(hf, config)(num_labels=CLASSES, **sizes))
    return model, {"pixel_values": pictures(3, size), "labels": labels()}, None


def _translator(kind: str, config: str, **sizes: Any) -> Made:
    model, batch, loss = language(kind, config, **sizes)
    return model, batch | {"labels": words(BATCH, 24)}, loss


def _whisper() -> Made:
    model = known.MODELS["Whisper"][0]()
    batch = {"input_features": torch.randn(BATCH, 20, 64), "labels": words(BATCH, 24)}
    return model, batch, None


def plain(
    activation: type[nn.Module], fill: Callable[[torch.Tensor], Any], depth: int
) -> nn.Module:
    """A plain network whose weights are filled as its paper says, with biases at zero."""
    sizes = [64, *[WIDTH] * depth, CLASSES]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
        fill(layers[-2].weight)  # type: ignore[arg-type]
        nn.init.zeros_(layers[-2].bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers[:-1])


def he(weight: torch.Tensor) -> None:
    """He et al. 2015."""
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


def xavier(weight: torch.Tensor) -> None:
    """Glorot & Bengio 2010, with tanh's gain."""
    nn.init.xavier_normal_(weight, nn.init.calculate_gain("tanh"))


def lecun(weight: torch.Tensor) -> None:
    """Klambauer et al. 2017."""
    nn.init.kaiming_normal_(weight, nonlinearity="linear")


def _convolutions() -> nn.Module:
    """A plain convolutional network as in He et al. 2015."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise([3, 32, 32, 64, 64, 128, 128]):
        layers += [nn.Conv2d(before, after, 3, stride=1 + (before < after), padding=1), nn.ReLU()]
    layers += [nn.Flatten(), nn.Linear(128 * 16, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES)]
    for layer in layers:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            he(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers)


def _lenet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(16 * 36, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh()),
        nn.Linear(84, CLASSES),
    )


def _atari() -> nn.Module:
    """The network of Mnih et al. 2015."""
    return nn.Sequential(
        *(nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 16, 512), nn.ReLU()),
        nn.Linear(512, CLASSES),
    )


class Encoder(nn.Module):
    """torch's own transformer layers under a classifier."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, CLASSES)
        for weight in self.layers.parameters():  # as nn.Transformer does
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits of each sequence."""
        return self.head(self.layers(x).mean(1))


def _tagger(kind: type[nn.RNNBase]) -> Made:
    tokens = words(BATCH, 32)
    model = known.Reader(kind)
    return model, tokens, lambda y: cross_entropy(y.flatten(0, 1), tokens.flatten())


def _rebuilt(name: str) -> Made:
    build, batch = known.MODELS[name]
    given = batch()
    if name == "U-Net":
        given = pictures()
    return build(), given, lambda y: mse_loss(y[0] if isinstance(y, tuple) else y, torch.zeros(1))


def _scored(name: str) -> Made:
    build, _ = known.MODELS[name]
    batch = pictures()
    with torch.no_grad():
        classes = build().eval()(batch[:2]).shape[-1]
    wanted = labels(classes)
    return build(), batch, lambda output: cross_entropy(output, wanted)


FIRST: dict[str, Callable[[], Made]] = {
    "GPT-2": lambda: language(
        "GPT2LMHeadModel", "GPT2Config", n_layer=LAYERS, n_embd=WIDTH, n_head=HEADS
    ),
    "Llama": lambda: language("LlamaForCausalLM", "LlamaConfig", **DECODER),
    "BERT": lambda: language("BertForMaskedLM", "BertConfig", **SMALL),
    "ALBERT": lambda: language("AlbertForMaskedLM", "AlbertConfig", embedding_size=64, **SMALL),
    "T5": lambda: _translator(
        "T5ForConditionalGeneration",
        "T5Config",
        d_model=WIDTH,
        d_kv=WIDTH // HEADS,
        d_ff=4 * WIDTH,
        num_layers=LAYERS,
        num_heads=HEADS,
        decoder_start_token_id=0,
    ),
    "Whisper": _whisper,
    "Mamba": lambda: language(
        "MambaForCausalLM", "MambaConfig", hidden_size=WIDTH, num_hidden_layers=LAYERS
    ),
    "Mixtral": lambda: language(
        "MixtralForCausalLM", "MixtralConfig", num_local_experts=4, **DECODER
    ),
    "ViT": lambda: seen(
        "ViTForImageClassification", "ViTConfig", image_size=32, patch_size=8, **SMALL
    ),
    "Swin": lambda: seen(
        "SwinForImageClassification",
        "SwinConfig",
        image_size=32,
        patch_size=2,
        embed_dim=32,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
    ),
    "ResNet": lambda: seen(
        "ResNetForImageClassification",
        "ResNetConfig",
        depths=[2, 2, 2, 2],
        hidden_sizes=[32, 64, 128, 256],
        layer_type="basic",
        embedding_size=32,
    ),
    "ConvNeXt": lambda: seen(
        "ConvNextForImageClassification",
        "ConvNextConfig",
        size=64,
        depths=[2, 2, 2, 2],
        hidden_sizes=[32, 64, 128, 256],
    ),
    "torch's encoder": lambda: classified(Encoder(), torch.randn(BATCH, 24, WIDTH)),
    "LSTM": lambda: _tagger(nn.LSTM),
    "GRU": lambda: _tagger(nn.GRU),
    "plain ReLU": lambda: classified(plain(nn.ReLU, he, 8), torch.randn(BATCH, 64)),
    "plain tanh": lambda: classified(plain(nn.Tanh, xavier, 6), torch.randn(BATCH, 64)),
    "plain convolutions": lambda: classified(_convolutions(), pictures()),
    "LeNet": lambda: classified(_lenet(), pictures(1)),
    "U-Net": lambda: _rebuilt("U-Net"),
}

SECOND: dict[str, Callable[[], Made]] = {
    "OPT": lambda: language(
        "OPTForCausalLM",
        "OPTConfig",
        word_embed_proj_dim=WIDTH,
        ffn_dim=4 * WIDTH,
        **{k: v for k, v in SMALL.items() if k != "intermediate_size"},
    ),
    "Qwen3": lambda: language("Qwen3ForCausalLM", "Qwen3Config", head_dim=32, **DECODER),
    "ELECTRA": lambda: language(
        "ElectraForMaskedLM", "ElectraConfig", embedding_size=WIDTH, **SMALL
    ),
    "BART": lambda: _translator(
        "BartForConditionalGeneration",
        "BartConfig",
        d_model=WIDTH,
        **{
            f"{side}_{what}": size
            for side in ("encoder", "decoder")
            for what, size in (
                ("layers", LAYERS),
                ("attention_heads", HEADS),
                ("ffn_dim", 4 * WIDTH),
            )
        },
    ),
    "DeiT": lambda: seen(
        "DeiTForImageClassification", "DeiTConfig", image_size=32, patch_size=8, **SMALL
    ),
    "RegNet": lambda: seen(
        "RegNetForImageClassification",
        "RegNetConfig",
        size=64,
        depths=[1, 2, 3, 1],
        hidden_sizes=[32, 64, 96, 128],
        groups_width=16,
    ),
    "MobileNetV2": lambda: _scored("MobileNetV2"),
    "plain SELU": lambda: classified(plain(nn.SELU, lecun, 8), torch.randn(BATCH, 64)),
    "Atari": lambda: classified(_atari(), pictures(4, 64)),
    "autoencoder": lambda: _rebuilt("autoencoder"),
}


def build(name: str) -> Made:
    """A model in training mode with its batch and loss, the same at every call."""
    torch.manual_seed(0)
    model, batch, loss = (FIRST | SECOND)[name]()
    return model.train(), batch, loss
