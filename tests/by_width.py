"""Models of any width that the tests of this room train, and what they learn."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(4, (64,), generator=torch.Generator().manual_seed(1))
TOKENS = torch.randint(17, (16, 8), generator=torch.Generator().manual_seed(0))
NEXT = torch.randint(17, (16, 8), generator=torch.Generator().manual_seed(1))


def mlp(width):
    hidden = [m for _ in range(2) for m in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), *hidden, nn.Linear(width, 4))


def cross_entropy(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Block(nn.Module):
    """Attention whose softmax is torch's, or written out."""

    def __init__(self, width, fused):
        super().__init__()
        self.fused = fused
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.c_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        packed = self.c_attn(self.ln_1(x)).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = packed
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            y = scores.masked_fill(later, -torch.inf).softmax(-1) @ v
        x = x + self.c_proj(y.transpose(1, 2).flatten(2))
        return x + self.c_out(F.gelu(self.c_fc(self.ln_2(x))))


class GPT(nn.Module):
    """With a tied readout that no module makes."""

    def __init__(self, width, fused=True):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(17, width), nn.Embedding(8, width)
        self.h = nn.ModuleList(Block(width, fused) for _ in range(2))
        self.ln_f = nn.LayerNorm(width)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        return self.ln_f(x) @ self.wte.weight.T
