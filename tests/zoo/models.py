"""Every network here: how to build it, an example, and the role of each parameter by pattern."""

import torch
from torch import nn

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
            "inject.weight": "input weight",
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
