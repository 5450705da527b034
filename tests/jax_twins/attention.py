"""Attention in torch, with a projection each for queries, keys and values."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


def heads_of(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Return (N, T, heads * size) as (N, heads, T, size)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merged(x: torch.Tensor) -> torch.Tensor:
    """Return (N, heads, T, size) as (N, T, heads * size)."""
    return x.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, causal: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.q = nn.Linear(width, width, bias=bias)
        self.k = nn.Linear(width, width, bias=bias)
        self.v = nn.Linear(width, width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, x: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
        memory = x if memory is None else memory
        q, k, v = (
            heads_of(part, self.heads) for part in (self.q(x), self.k(memory), self.v(memory))
        )
        return self.out(merged(F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)))
