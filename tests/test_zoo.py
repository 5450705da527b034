"""The role of every parameter of networks written by hand, worked out by hand."""

from fnmatch import fnmatchcase

import pytest
import torch
from torch import nn

import isoinit
from zoo import generative, odd, vision

IMAGE = torch.randn(2, 3, 32, 32)
END = "weight ending a residual branch"
HEAD = {"head.weight": "weight of the output", "head.bias": "bias"}
BATCH_NORM = {"*bn?.weight": "norm scale", "*bn?.bias": "norm shift"}


def before(name):
    return f"weight before {name}"


# A model, a batch, and roles by pattern; the first pattern that matches a name counts.
ZOO = {
    "ResNet-50": (
        vision.ResNet50,
        IMAGE,
        {
            "fc.weight": "weight of the output",
            "fc.bias": "bias",
            "*downsample.0.weight": "weight",  # the skip: a norm and then a sum
            "*downsample.1.weight": "norm scale",
            "*downsample.1.bias": "norm shift",
            "*conv3.weight": "weight",  # bn3 ends the branch
            "*conv?.weight": before("relu"),
            **BATCH_NORM,
        },
    ),
    "DenseNet": (
        vision.DenseNet,
        IMAGE,
        {
            **HEAD,
            "norms.*.weight": "norm scale",
            "norms.*.bias": "norm shift",
            "convs.?.bias": "bias",
            "stem.bias": "bias",
            "*.weight": "weight",  # concatenated, and then under the next layer's own norm
        },
    ),
    "MobileNetV2": (
        vision.MobileNetV2,
        IMAGE,
        {
            **HEAD,
            "*.1.weight": "norm scale",
            "*.1.bias": "norm shift",
            "*project.0.weight": "weight",
            "*.0.weight": before("relu6"),
        },
    ),
    "U-Net": (
        vision.UNet,
        IMAGE,
        {
            "out.weight": "weight of the output",
            "*.bias": "bias",
            "rise?.weight": "weight",
            "*.weight": before("relu"),
        },
    ),
    "ConvNeXt": (
        vision.ConvNeXt,
        IMAGE,
        {
            **HEAD,
            "*gamma": "scale",
            "*norm.weight": "norm scale",
            "*norm.bias": "norm shift",
            "*wide.weight": before("gelu"),
            "*.bias": "bias",
            "*.weight": "weight",
        },
    ),
    "MLP-Mixer": (
        vision.Mixer,
        IMAGE,
        {
            **HEAD,
            "*norm*.weight": "norm scale",
            "*norm*.bias": "norm shift",
            "*1.weight": before("gelu"),
            "*2.weight": END,
            "stem.weight": "weight",
            "*.bias": "bias",
        },
    ),
    "SIREN": (
        generative.Siren,
        torch.rand(4, 2),
        {**HEAD, "*.weight": before("mul·sin"), "*.bias": "bias"},
    ),
    "NeRF": (
        generative.NeRF,
        (torch.rand(4, 3), torch.rand(4, 3)),
        {
            "feature.weight": "weight",
            "colour.weight": before("sigmoid"),
            "*.weight": before("relu"),
            "*.bias": "bias",
        },
    ),
    "autoencoder": (
        generative.Autoencoder,
        torch.rand(4, 64),
        {
            "encoder.2.weight": "weight",
            "decoder.2.weight": before("sigmoid"),
            "*.weight": before("elu"),
            "*.bias": "bias",
        },
    ),
    "VAE": (
        generative.VAE,
        torch.rand(4, 64),
        {
            "encoder.weight": before("tanh"),
            "decoder.weight": before("tanh"),
            "out.weight": "weight of the output",
            "mean.weight": "weight",
            "logvar.weight": before("mul·exp"),
            "*.bias": "bias",
        },
    ),
    "GAN": (
        generative.Gan,
        torch.randn(4, 16),
        {
            "*norm.weight": "norm scale",
            "*norm.bias": "norm shift",
            "generator.out.weight": before("tanh"),
            "generator.*.weight": before("relu"),
            "discriminator.out.weight": "weight of the output",
            "*.bias": "bias",
            "discriminator.*": before("leaky_relu"),
        },
    ),
    "diffusion U-Net": (
        generative.DiffusionUNet,
        (IMAGE, torch.tensor([3.0, 700.0])),
        {
            "last.weight": "weight of the output",
            "*norm*.weight": "norm scale",
            "*norm*.bias": "norm shift",
            "*.bias": "bias",
            "time.*.weight": before("silu"),  # the second one also feeds a silu in each block
            "*time.weight": before("silu"),
            "*conv1.weight": before("silu"),
            "*conv2.weight": END,
            "first.weight": before("silu"),  # behind the norm of the next block
            "shrink.weight": before("silu"),
            "attention.out.weight": END,
            "*.weight": "weight",
        },
    ),
    "normalizing flow": (
        generative.Flow,
        torch.randn(4, 8),
        {"*hidden.weight": before("relu"), "*out.weight": before("tanh·exp"), "*.bias": "bias"},
    ),
    "graph network": (
        odd.GraphNetwork,
        (torch.randn(5, 4), torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])),
        {
            "read.weight": "weight of the output",
            "update.weight_ih": "input weight",
            "update.weight_hh": "recurrent weight",
            "update.bias_ih": "input bias",
            "update.bias_hh": "recurrent bias",
            "*.weight": before("relu"),
            "*.bias": "bias",
        },
    ),
    "equilibrium": (
        odd.Equilibrium,
        torch.randn(5, 4),
        {
            "inject.weight": before("tanh"),
            "inner.weight": "recurrent weight",
            "out.weight": "weight of the output",
            "*.bias": "bias",
        },
    ),
    "LSTM language model": (
        odd.LanguageModel,
        torch.randint(50, (2, 7)),
        {
            **HEAD,
            "embed.weight": "embedding",
            "rnn.weight_ih*": "input weight",
            "rnn.weight_hh*": "recurrent weight",
            "rnn.bias_ih*": "input bias",
            "rnn.bias_hh*": "recurrent bias",
        },
    ),
    "branches on data": (
        odd.Branches,
        torch.randn(5, 4),
        {**HEAD, "a.weight": before("tanh"), "b.weight": before("relu"), "*.bias": "bias"},
    ),
    "experts in stacks": (
        odd.Expert,
        torch.randn(5, 8),
        {"router.weight": "weight", "up": before("silu"), "down": END},
    ),
    "experts gathered": (
        odd.Chosen,
        torch.randn(5, 8),
        {"router.weight": "weight", "up": before("silu"), "down": END},
    ),
    "parameters by hand": (
        odd.ByHand,
        torch.randn(5, 8),
        {
            "list.?": before("relu"),
            "dict.w": before("tanh"),
            "dict.b": "bias",
            "dotted": "weight of the output",
            "*": "weight",
        },
    ),
    "autograd function": (odd.Custom, torch.randn(5, 4), {**HEAD, "weight": before("pow")}),
    "module used twice": (
        odd.Twice,
        torch.randint(20, (2, 5)),
        {
            "embed.weight": "embedding, tied to an output weight",
            "shared.weight": before("tanh"),
            "shared.bias": "bias",
        },
    ),
    "parametrized": (
        odd.Parametrized,
        torch.randn(5, 4),
        {
            **HEAD,
            "a.parametrizations.weight.original0": "length",
            "*.bias": "bias",
            "*original*": before("relu"),
        },
    ),
    "torch's Transformer": (
        lambda: nn.Transformer(16, 2, 2, 2, 32, batch_first=True),
        (torch.randn(2, 5, 16), torch.randn(2, 6, 16)),
        {
            "*norm*.weight": "norm scale",
            "*norm*.bias": "norm shift",
            "*in_proj_weight": "weight",
            "*bias": "bias",
            "*linear1.weight": before("relu"),
            "*out_proj.weight": END,
            "*linear2.weight": END,
        },
    ),
}


def expected(names, patterns):
    found = {name: next((p for p in patterns if fnmatchcase(name, p)), None) for name in names}
    return {name: pattern and patterns[pattern] for name, pattern in found.items()}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", ZOO)
def test_every_parameter_has_its_role(name, training):
    torch.manual_seed(0)
    build, batch, patterns = ZOO[name]
    model = build().train(training)
    plan = isoinit.plan(model, batch)
    roles = {entry.name: entry.role for entry in plan}
    assert roles == expected([n for n, _ in model.named_parameters()], patterns)
    assert plan.notes == ()
    on_data = ("equilibrium", "branches on data")
    assert plan.how == ("real" if name in on_data else "fake")


@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers(cell, gates):
    plan = isoinit.plan(odd.LanguageModel(cell), torch.randint(50, (2, 7)))
    assert plan["rnn.weight_hh_l1"].role == "recurrent weight"
    assert plan["rnn.weight_hh_l1"].layout.maps_shape == (gates, 32, 32, 1)


FANS = {
    "list.0": (8, 8),
    "dict.w": (8, 16),
    "left": (16, 12),
    "three": (12, 12),
    "implicit": (6, 4),
    "dots": (4, 5),
    "dotted": (5, 3),
}


def test_fans_of_parameters_used_directly():
    plan = isoinit.plan(odd.ByHand(), torch.randn(5, 8))
    assert {name: (plan[name].fan_in, plan[name].fan_out) for name in FANS} == FANS


@pytest.mark.parametrize("build", [odd.Expert, odd.Chosen])
def test_fans_of_stacked_experts(build):
    plan = isoinit.plan(build(), torch.randn(5, 8))
    # "bi,eij->bej" is one map to all experts at once
    up = (4, 16, 8, 1) if build is odd.Chosen else (1, 64, 8, 1)
    assert plan["up"].layout.maps_shape == up
    assert plan["down"].layout.maps_shape == (4, 8, 16, 1)


def test_lazy_modules_are_refused_until_they_have_shapes():
    model = odd.Lazy()
    with pytest.raises(isoinit.IsoinitError, match=r"a\.weight.*lazy"):
        isoinit.plan(model, torch.randn(5, 4))
    model(torch.randn(5, 4))
    plan = isoinit.plan(model, torch.randn(5, 4))
    assert plan["a.weight"].role == "weight before relu"
