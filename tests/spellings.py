"""Activations in many spellings: what a model may write for one and the same function."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


def masked_write(z, mask, value):
    y = z.clone()
    y[mask(z)] = value
    return y


def elu_by_parts(z):
    y = z.clone()
    mask = y < 0
    y[mask] = torch.exp(y[mask]) - 1
    return y


def from_empty(z):
    y = torch.empty_like(z)
    y[z > 0] = z[z > 0]
    y[z <= 0] = 0.0
    return y


def into_zeros(z):
    y = torch.zeros_like(z)
    positive = z > 0
    y[positive] = z[positive]
    return y


def in_place(z):
    y = z + 0
    y.mul_(y > 0)
    return y


def through_a_view(z):
    y = z.clone()
    y.view(-1).clamp_(min=0)
    return y


def by_iadd(z):
    y = z.abs()
    y += z
    y /= 2
    return y


def with_out(z):
    y = torch.empty_like(z)
    torch.clamp(z, min=0, out=y)
    return y


def by_copy(z):
    y = torch.empty_like(z)
    y.copy_(F.relu(z))
    return y


def gate(z):
    return (z > 0).to(z.dtype)


RELU = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "relu_": lambda z: torch.relu_(z.clone()),
    "clamp": lambda z: z.clamp(min=0),
    "clamp min tensor": lambda z: torch.clamp(z, min=torch.zeros_like(z)),
    "clamp_min": lambda z: z.clamp_min(0),
    "clip": lambda z: torch.clip(z, 0, None),
    "where number": lambda z: torch.where(z > 0, z, 0.0),
    "where zeros": lambda z: torch.where(z > 0, z, torch.zeros_like(z)),
    "where other way": lambda z: torch.where(z <= 0, torch.zeros_like(z), z),
    "where new_zeros": lambda z: torch.where(z > 0, z, z.new_zeros(z.shape)),
    "where of one number": lambda z: z.where(z > 0, torch.tensor(0.0, dtype=z.dtype)),
    "bucketize": lambda z: z * torch.bucketize(z, torch.tensor([0.0], dtype=z.dtype)),
    "looked up": lambda z: (
        z * torch.tensor([0.0, 1.0, 1.0], dtype=z.dtype)[torch.bucketize(z, torch.arange(2))]
    ),
    "picked by mask": lambda z: z * torch.tensor([0.0, 1.0], dtype=z.dtype)[(z > 0).long()],
    "masked_fill": lambda z: z.masked_fill(z < 0, 0.0),
    "masked_fill_": lambda z: z.clone().masked_fill_(z < 0, 0.0),
    "masked_scatter": lambda z: z.masked_scatter(z < 0, torch.zeros_like(z)),
    "times mask": lambda z: z * (z > 0),
    "times cast mask": lambda z: z * (z > 0).to(z.dtype),
    "times float mask": lambda z: (z > 0).type_as(z) * z,
    "mask in place": in_place,
    "one minus mask": lambda z: z * (1 - (z < 0).to(z.dtype)),
    "not mask": lambda z: z * ~(z < 0),
    "mask and": lambda z: z * ((z > 0) & (z > -1)),
    "maximum": lambda z: torch.maximum(z, torch.zeros_like(z)),
    "maximum of one number": lambda z: torch.maximum(z, torch.zeros(1, dtype=z.dtype)),
    "max of two": lambda z: torch.max(z, torch.zeros_like(z)),
    "fmax": lambda z: torch.fmax(z, torch.full_like(z, 0.0)),
    "minus minimum": lambda z: z - torch.minimum(z, torch.zeros_like(z)),
    "threshold": lambda z: F.threshold(z, 0.0, 0.0),
    "written": lambda z: masked_write(z, lambda y: y < 0, 0.0),
    "written tensor": lambda z: masked_write(z, lambda y: y < 0, torch.tensor(0.0, dtype=z.dtype)),
    "written into zeros": into_zeros,
    "written into empty": from_empty,
    "through a view": through_a_view,
    "with out": with_out,
    "by copy": by_copy,
    "index_put": lambda z: z.index_put((z < 0,), torch.zeros((), dtype=z.dtype)),
    "stack amax": lambda z: torch.stack([z, torch.zeros_like(z)]).amax(0),
    "stack max": lambda z: torch.stack([z, 0 * z], -1).max(-1).values,
    "stack max inside": lambda z: torch.stack([z, 0 * z], 1).max(1)[0],
    "half of sum": lambda z: 0.5 * (z + z.abs()),
    "in steps": by_iadd,
    "heaviside": lambda z: z * torch.heaviside(z, torch.zeros((), dtype=z.dtype)),
    "sign": lambda z: z * (1 + torch.sign(z)) / 2,
    "addcmul": lambda z: torch.addcmul(torch.zeros_like(z), z, (z > 0).to(z.dtype)),
    "lerp": lambda z: torch.lerp(torch.zeros_like(z), z, (z > 0).to(z.dtype)),
    "leaky of zero": lambda z: F.leaky_relu(z, 0.0),
    "sqrt of square": lambda z: (torch.sqrt(z * z) + z) / 2,
    "scaled there and back": lambda z: F.relu(z * torch.full_like(z, 2.0)) / 2,
    "hardtanh": lambda z: F.hardtanh(z, 0.0, math.inf),
    "logical gate": lambda z: torch.where(torch.logical_not(z > 0), torch.zeros_like(z), z),
}

OTHERS = {
    "leaky relu": (
        lambda z: F.leaky_relu(z, 0.1),
        {
            "module in place": nn.LeakyReLU(0.1, inplace=True),
            "where": lambda z: torch.where(z > 0, z, 0.1 * z),
            "maximum": lambda z: torch.maximum(z, 0.1 * z),
            "stack": lambda z: torch.stack([z, 0.1 * z]).amax(0),
            "stack max": lambda z: torch.stack([z, 0.1 * z], -1).max(dim=-1)[0],
            "masks": lambda z: gate(z) * z + (1 - gate(z)) * 0.1 * z,
            "slope tensor": lambda z: torch.where(z > 0, z, torch.full_like(z, 0.1) * z),
            "relus": lambda z: F.relu(z) - 0.1 * F.relu(-z),
            "lerp": lambda z: torch.lerp(0.1 * z, z, gate(z)),
        },
    ),
    "abs": (
        torch.abs,
        {
            "sign": lambda z: z * torch.sign(z),
            "maximum": lambda z: torch.maximum(z, -z),
            "relus": lambda z: F.relu(z) + F.relu(-z),
            "stack": lambda z: torch.stack([z, -z], 1).amax(1),
            "masks": lambda z: z * (z > 0) - z * (z < 0),
            "where": lambda z: torch.where(z < 0, z.neg(), z),
        },
    ),
    "hardtanh": (
        F.hardtanh,
        {
            "clamp": lambda z: z.clamp(-1, 1),
            "clamp tensors": lambda z: z.clamp(-torch.ones_like(z), torch.ones_like(z)),
            "maximum": lambda z: torch.maximum(
                torch.minimum(z, torch.ones_like(z)), -torch.ones_like(z)
            ),
            "masked_fill": lambda z: z.masked_fill(z > 1, 1.0).masked_fill(z < -1, -1.0),
            "written": lambda z: masked_write(
                masked_write(z, lambda y: y > 1, 1.0), lambda y: y < -1, -1.0
            ),
            "median": lambda z: torch.stack([z, torch.ones_like(z), -torch.ones_like(z)]).median(0)[
                0
            ],
        },
    ),
    "gelu": (
        F.gelu,
        {
            "module": nn.GELU(),
            "erf": lambda z: 0.5 * z * (1 + torch.erf(z / math.sqrt(2))),
            "ndtr": lambda z: z * torch.special.ndtr(z),
            "tensor root": lambda z: z * 0.5 * (1 + torch.erf(z / torch.sqrt(torch.tensor(2.0)))),
        },
    ),
    "silu": (
        F.silu,
        {
            "module in place": nn.SiLU(inplace=True),
            "sigmoid": lambda z: z * torch.sigmoid(z),
            "exp": lambda z: z / (1 + torch.exp(-z)),
            "tanh": lambda z: z * (torch.tanh(z / 2) + 1) / 2,
            "ones": lambda z: z * torch.ones_like(z).div(torch.ones_like(z) + torch.exp(-z)),
        },
    ),
    "softplus": (
        F.softplus,
        {
            "log1p": lambda z: torch.log1p(torch.exp(z)),
            "logaddexp": lambda z: torch.logaddexp(z, torch.zeros_like(z)),
            "logsumexp": lambda z: torch.stack([z, torch.zeros_like(z)]).logsumexp(0),
            "logsigmoid": lambda z: -F.logsigmoid(-z),
        },
    ),
    "elu": (
        F.elu,
        {
            "where": lambda z: torch.where(z > 0, z, torch.expm1(z)),
            "by parts": elu_by_parts,
            "sums": lambda z: F.relu(z) + torch.expm1(z.clamp(max=0)),
        },
    ),
    "step": (
        lambda z: (z > 0).to(z.dtype),
        {
            "cast": lambda z: (z > 0).type_as(z),
            "times ones": lambda z: (z > 0) * torch.ones_like(z),
            "where": lambda z: torch.where(z > 0, 1.0, 0.0).to(z.dtype),
            "where tensors": lambda z: torch.where(z > 0, torch.ones_like(z), torch.zeros_like(z)),
            "heaviside": lambda z: torch.heaviside(z, torch.zeros((), dtype=z.dtype)),
            "sign": lambda z: (torch.sign(z) + 1) / 2,
            "integers": lambda z: (z > 0).int().to(z.dtype),
        },
    ),
    "sign": (
        torch.sign,
        {
            "where": lambda z: torch.where(z > 0, 1.0, -1.0).to(z.dtype),
            "masks": lambda z: gate(z) - gate(-z),
            "twice": lambda z: 2 * gate(z) - 1,
        },
    ),
    "hard sigmoid": (
        F.hardsigmoid,
        {
            "relu6": lambda z: F.relu6(z + 3) / 6,
            "clamp": lambda z: (z / 6 + 0.5).clamp(0, 1),
            "minimum": lambda z: torch.minimum(F.relu(z + 3), torch.full_like(z, 6.0)) / 6,
        },
    ),
}
