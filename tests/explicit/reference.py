"""What the papers ask of a larger model: multipliers in its forward, and factors by role.

Nothing here asks isoinit: sizes are read off torch's own layers, and the table is written by hand
after Yang et al. 2022 (width) and Dey et al. 2025 (depth).
"""

import math
import re
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True)
class Growth:
    """How many times wider and deeper a model is, and each of its heads; and how branches shrink."""

    width: float = 4.0
    depth: float = 1.0
    head: float = 4.0
    alpha: float = 1.0  # branches shrink by depth^-alpha


@dataclass(frozen=True)
class Expected:
    """The factors of one parameter beside explicit multipliers."""

    std: float
    lr: float
    decay: float
    eps: float


def sums_and_makes(module, key, parameter):
    """How many inputs an output sums, and how many outputs there are."""
    shape = parameter.shape
    if isinstance(module, nn.Embedding):
        return 1, shape[1]
    if isinstance(module, Conv1D) and key == "weight":  # GPT-2 stores its weights transposed
        return shape[0], shape[1]
    matrix = isinstance(module, (nn.Linear, nn.MultiheadAttention, nn.RNNBase)) and len(shape) == 2
    router = key == "weight" and len(shape) == 2 and type(module).__name__.endswith("Router")
    if matrix or router:
        return shape[1], shape[0]
    if isinstance(module, (nn.Conv1d, nn.Conv2d)) and key == "weight":
        return math.prod(shape[1:]), shape[0]
    if len(shape) == 3 and key in ("gate_up_proj", "down_proj"):  # experts, (expert, out, in)
        return shape[2], shape[1]
    return 1, parameter.numel()  # a vector, a position, a token


def sizes(model):
    found, seen = {}, set()
    for name, module in model.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                full = f"{name}.{key}" if name else key
                found[full] = sums_and_makes(module, key, parameter)
    return found


def twin(name, base):
    """The parameter of a base that one of a deeper model stands for."""
    if name in base:
        return name
    depth = 1 + max(int(m[1]) for n in base if (m := re.search(r"\.(\d+)\.", n)))
    return re.sub(r"\.(\d+)\.", lambda m: f".{int(m[1]) % depth}.", name, count=1)


def table(base, target, grown, optimizer, inside=None):
    """The factors of every parameter, by role; `inside` finds those of residual branches by name."""
    found, small = {}, sizes(base)
    for name, (sums, makes) in sizes(target).items():
        before = small[twin(name, small)]
        m_in, m_out = sums / before[0], makes / before[1]
        lr = m_out / m_in if optimizer == "sgd" else 1 / m_in
        if optimizer == "muon" and by_muon(name):  # all its sides grow alike
            assert m_in == m_out
            lr = 1.0
        decay, eps = 1 / lr, 1 / m_out
        if inside and re.search(inside, name):
            alpha = 2 * grown.alpha if optimizer == "sgd" else grown.alpha
            lr *= grown.depth ** (alpha - 1)
            eps *= grown.depth**-grown.alpha
            decay *= grown.depth**-grown.alpha if optimizer == "sgd" else 1.0
        std = m_in**-0.5 * min(1.0, (m_out / m_in) ** 0.5)
        found[name] = Expected(std, lr, decay, eps)
    return found


def by_muon(name):
    """Whether a parameter is a hidden matrix, as Llama calls them."""
    return re.search(r"layers\.\d+\.\w+\.\w+_proj", name)


def groups(model, factors, lr, weight_decay, eps, *, decay_vectors=True, optimizer="adamw"):
    """A group for each parameter."""
    made = []
    for name, parameter in model.named_parameters():
        factor = factors[name]
        decays = decay_vectors or parameter.dim() > 1
        group = {"params": [parameter], "lr": lr * factor.lr, "eps": eps * factor.eps}
        group["weight_decay"] = weight_decay * factor.decay * decays
        if optimizer == "muon" and by_muon(name):
            group["adjust_lr_fn"] = "original"
        made.append(group)
    return made


@dataclass
class Multipliers:
    """Puts the papers' multipliers into a forward.

    Attributes:
        branches: finds the modules that make what residual branches add to their stream, by name.
        readout: the module that reads a tied table, and by which power of the width it shrinks.
        scores: by which power of a head's width scores shrink: to q·k/d from what the model has.
    """

    branches: str | None = None
    readout: str | None = None
    power: float = -1.0
    scores: float = -0.5
    others: list = field(default_factory=list)  # called with the model and the growth

    def install(self, model, grown, without=()):
        """Change the forward; `without` leaves kinds of multipliers out."""
        if "scores" not in without:
            scale_scores(model, grown.head**self.scores)
        for name, module in model.named_modules():
            if self.branches and re.fullmatch(self.branches, name) and "branches" not in without:
                scale_output(module, grown.depth**-grown.alpha)
            if self.readout == name and "readout" not in without:
                scale_input(module, grown.width**self.power)
        for other in self.others:
            other(model, grown)
        return model


def scale_scores(model, by):
    """Multiply the scores of every attention that multiplies them by a number of its own.

    T5's had none in transformers 5.10 and before: there the queries are multiplied.
    """
    for module in model.modules():
        if hasattr(module, "relative_attention_num_buckets") and not hasattr(module, "scaling"):
            scale_output(module.q, by)
        for key, power in (("scaling", 1), ("inv_norm_factor", 1), ("scale_attn", -1)):
            if isinstance(vars(module).get(key), float):
                setattr(module, key, getattr(module, key) * by**power)


def scale_output(module, by):
    def hook(module, given, out):
        return (out[0] * by, *out[1:]) if isinstance(out, tuple) else out * by

    module.register_forward_hook(hook)


def scale_input(module, by):
    module.register_forward_pre_hook(lambda module, given: (given[0] * by, *given[1:]))


def optimizers(kind, groups):
    """The optimizers of some groups: Muon's have a field of its own."""
    if kind == "sgd":
        kept = [{k: v for k, v in group.items() if k != "eps"} for group in groups]
        return [torch.optim.SGD(kept, momentum=0.9)]
    made = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
    matrices = [group for group in groups if "adjust_lr_fn" in group]
    rest = [group for group in groups if "adjust_lr_fn" not in group]
    return [made(rest), *([torch.optim.Muon(matrices)] if matrices else [])]


def train(model, loss, optimizers, steps, clip=None):
    """The losses of some steps; `clip` is called with the model before each of them."""
    losses = []
    for step in range(steps):
        value = loss(model, step)
        model.zero_grad()
        value.backward()
        if clip:
            clip(model)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(value.item())
    return losses
