"""Recurrent networks as loops over dense layers, in torch too.

Signals in a loop are measured, under the plan's own values. Those follow from names and layouts, so
that the torch twins store the kernels of Flax, (in, out), under the names of JAX.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import nnx
from torch import nn

from jax_twins.twin import Names, Twin, normals, same, tensors
from jax_twins.values import blank, built_nnx

SIZE, HIDDEN = 8, 16
SEQUENCES = normals(4, 10, SIZE)


class Kernel(nn.Module):
    def __init__(self, n_in: int, n_out: int, bias: bool = True) -> None:
        super().__init__()
        self.kernel = nn.Parameter(nn.init.xavier_normal_(torch.empty(n_in, n_out)))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None

    def forward(self, x):
        return x @ self.kernel if self.bias is None else x @ self.kernel + self.bias


class ElmanTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wx, self.wh = Kernel(SIZE, HIDDEN), Kernel(HIDDEN, HIDDEN, bias=False)
        self.head = Kernel(HIDDEN, 4)

    def forward(self, x):
        h = x.new_zeros(x.shape[0], HIDDEN)
        for step in x.unbind(1):
            h = torch.tanh(self.wx(step) + self.wh(h))
        return self.head(h)


def elman(params, x):
    wx, wh, head = params["wx"], params["wh"], params["head"]

    def step(h, x):
        return jnp.tanh(x @ wx["kernel"] + wx["bias"] + h @ wh["kernel"]), None

    h, _ = jax.lax.scan(step, jnp.zeros((x.shape[0], HIDDEN)), jnp.swapaxes(x, 0, 1))
    return h @ head["kernel"] + head["bias"]


def elman_jax() -> tuple[Any, ...]:
    params = {
        "wx": {"kernel": blank(SIZE, HIDDEN), "bias": blank(HIDDEN)},
        "wh": {"kernel": blank(HIDDEN, HIDDEN)},
        "head": {"kernel": blank(HIDDEN, 4), "bias": blank(4)},
    }
    return elman, params, SEQUENCES


class GruCellTorch(nn.Module):
    """A gated recurrent unit, all gates in one product."""

    def __init__(self) -> None:
        super().__init__()
        self.dense_i = Kernel(SIZE, 3 * HIDDEN)
        self.dense_h = Kernel(HIDDEN, 3 * HIDDEN, bias=False)

    def forward(self, h, x):
        (xr, xz, xn), (hr, hz, hn) = self.dense_i(x).chunk(3, -1), self.dense_h(h).chunk(3, -1)
        z, n = torch.sigmoid(xz + hz), torch.tanh(xn + torch.sigmoid(xr + hr) * hn)
        return (1 - z) * n + z * h


class GruTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.ModuleDict({"cell": GruCellTorch()})
        self.head = Kernel(HIDDEN, 4)

    def forward(self, x):
        h = x.new_zeros(x.shape[0], HIDDEN)
        for step in x.unbind(1):
            h = self.rnn["cell"](h, step)
        return self.head(h)


class Gru(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.rnn = nnx.RNN(nnx.GRUCell(SIZE, HIDDEN, rngs=rngs), rngs=rngs)
        self.head = nnx.Linear(HIDDEN, 4, rngs=rngs)

    def __call__(self, x):
        return self.head(self.rnn(x)[:, -1])


def alike(*layers: str) -> Names:
    return {name: same(name) for name in layers}


HEAD = ("head.kernel", "head.bias")
CELL = ("rnn.cell.dense_i.kernel", "rnn.cell.dense_i.bias", "rnn.cell.dense_h.kernel")

TWINS = [
    Twin(
        "rnn by hand",
        "function",
        lambda: (ElmanTorch(), tensors(SEQUENCES)),
        elman_jax,
        lambda: alike("wx.kernel", "wx.bias", "wh.kernel", *HEAD),
    ),
    Twin(
        "gru by hand",
        "nnx",
        lambda: (GruTorch(), tensors(SEQUENCES)),
        lambda: (built_nnx(lambda: Gru(nnx.Rngs(0))), SEQUENCES),
        lambda: alike(*CELL, *HEAD),
    ),
]
