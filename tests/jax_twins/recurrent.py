"""Recurrent networks. torch's layers have two biases that always add up, JAX's cells have one."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from torch import nn

from jax_twins.twin import (
    Names,
    Source,
    Twin,
    affine,
    alike,
    dense,
    normals,
    part_of,
    summed,
    tensors,
    together,
    turned,
)
from jax_twins.values import blank, built_equinox, built_haiku, built_linen, built_nnx

SIZE, HIDDEN = 8, 16
SEQUENCES = normals(4, 10, SIZE)
IH, HH = "rnn.weight_ih_l0", "rnn.weight_hh_l0"
BIASES = ("rnn.bias_ih_l0", "rnn.bias_hh_l0")


class RecurrentTorch(nn.Module):
    """A recurrent layer of torch, and a head on its last output."""

    def __init__(self, layer: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = layer(SIZE, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 4)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Lstm(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.rnn = nnx.RNN(nnx.OptimizedLSTMCell(SIZE, HIDDEN, rngs=rngs), rngs=rngs)
        self.head = nnx.Linear(HIDDEN, 4, rngs=rngs)

    def __call__(self, x):
        return self.head(self.rnn(x)[:, -1])


def lstm_names() -> Names:
    cell = {
        "rnn.cell.dense_i.kernel": turned(IH),
        "rnn.cell.dense_h.kernel": turned(HH),
        "rnn.cell.dense_h.bias": summed(*BIASES),
    }
    return together(cell, dense("head", "head"))


class LinenLstm(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.RNN(linen.OptimizedLSTMCell(HIDDEN, name="cell"))(x)
        return linen.Dense(4, name="head")(x[:, -1])


def linen_lstm_names() -> Names:
    names = dense("head", "head")
    for i, gate in enumerate("ifgo"):
        names[f"cell.i{gate}.kernel"] = part_of(IH, i, 4, np.transpose)
        names[f"cell.h{gate}.kernel"] = part_of(HH, i, 4, np.transpose)
        names[f"cell.h{gate}.bias"] = gate_bias(i, 4)
    return names


def gate_bias(index: int, gates: int) -> Source:
    """One gate's share of the sum of torch's two biases."""
    return Source(BIASES, lambda *arrays: np.split(sum(arrays), gates)[index], "summed")


class Gru(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.RNN(linen.GRUCell(HIDDEN, name="cell"))(x)
        return linen.Dense(4, name="head")(x[:, -1])


def gru_names() -> Names:
    names = dense("head", "head")
    for i, gate in enumerate("rzn"):
        names[f"cell.i{gate}.kernel"] = part_of(IH, i, 3, np.transpose)
        names[f"cell.h{gate}.kernel"] = part_of(HH, i, 3, np.transpose)
    names["cell.ir.bias"], names["cell.iz.bias"] = gate_bias(0, 3), gate_bias(1, 3)
    names["cell.in.bias"] = part_of(BIASES[0], 2, 3, np.asarray)
    names["cell.hn.bias"] = part_of(BIASES[1], 2, 3, np.asarray)
    return names


class EquinoxRecurrent(eqx.Module):
    cell: eqx.nn.GRUCell | eqx.nn.LSTMCell
    head: eqx.nn.Linear

    def __init__(self, cell, key) -> None:
        self.cell = cell(SIZE, HIDDEN, key=key)
        self.head = eqx.nn.Linear(HIDDEN, 4, key=key)

    def __call__(self, x):
        return jax.vmap(self.one)(x)

    def one(self, sequence):
        zeros = jnp.zeros(HIDDEN)
        two = isinstance(self.cell, eqx.nn.LSTMCell)

        def step(state, x):
            return self.cell(x, state), None

        state, _ = jax.lax.scan(step, (zeros, zeros) if two else zeros, sequence)
        return self.head(state[0] if two else state)


def equinox_jax(cell: Any) -> tuple[Any, ...]:
    return built_equinox(lambda: EquinoxRecurrent(cell, jax.random.key(0))), SEQUENCES


def equinox_weights() -> Names:
    return {
        "cell.weight_ih": Source((IH,), np.asarray),
        "cell.weight_hh": Source((HH,), np.asarray),
        **alike("head", "head"),
    }


def equinox_lstm_names() -> Names:
    return together(equinox_weights(), {"cell.bias": summed(*BIASES)})


def equinox_gru_names() -> Names:
    def outside(ih, hh):
        # The candidate's second bias is multiplied by the reset gate: it is `bias_n`.
        return ih + np.concatenate([hh[: 2 * HIDDEN], np.zeros(HIDDEN, hh.dtype)])

    biases = {
        "cell.bias": Source(BIASES, outside, "summed"),
        "cell.bias_n": part_of(BIASES[1], 2, 3, np.asarray),
    }
    return together(equinox_weights(), biases)


def haiku_lstm(x):
    cell = hk.LSTM(HIDDEN)
    outputs, _ = hk.dynamic_unroll(cell, x, cell.initial_state(x.shape[0]), time_major=False)
    return hk.Linear(4, name="head")(outputs[:, -1])


def haiku_lstm_jax() -> tuple[Any, ...]:
    transformed = hk.transform(haiku_lstm)
    return transformed, built_haiku(transformed, SEQUENCES), SEQUENCES


def haiku_lstm_names() -> Names:
    """Gates in the order i, g, f, o; Haiku adds 1 to the forget gate itself."""

    def ordered(array):
        i, f, g, o = np.split(array, 4)
        return np.concatenate([i, g, f, o])

    def kernel(ih, hh):
        return np.concatenate([ordered(ih).T, ordered(hh).T])

    def bias(ih, hh):
        i, f, g, o = np.split(ih + hh, 4)
        return np.concatenate([i, g, f - 1, o])

    cell = {
        "lstm/linear.w": Source((IH, HH), kernel, "joined"),
        "lstm/linear.b": Source(BIASES, bias, "summed"),
    }
    return together(cell, affine("head", "head"))


def rnn(params, x):
    """Elman's network by hand: a scan, and the two products in one matrix each."""

    def step(h, x):
        return jnp.tanh(x @ params["wx"] + h @ params["wh"] + params["b"]), None

    h, _ = jax.lax.scan(step, jnp.zeros((x.shape[0], HIDDEN)), jnp.swapaxes(x, 0, 1))
    return h @ params["head"]["w"] + params["head"]["b"]


def rnn_jax() -> tuple[Any, ...]:
    params = {
        "wx": blank(SIZE, HIDDEN),
        "wh": blank(HIDDEN, HIDDEN),
        "b": blank(HIDDEN),
        "head": {"w": blank(HIDDEN, 4), "b": blank(4)},
    }
    return rnn, params, SEQUENCES


def rnn_names() -> Names:
    cell = {"wx": turned(IH), "wh": turned(HH), "b": summed(*BIASES)}
    return together(cell, affine("head", "head"))


TWINS = [
    Twin(
        "lstm nnx",
        "nnx",
        lambda: (RecurrentTorch(nn.LSTM), tensors(SEQUENCES)),
        lambda: (built_nnx(lambda: Lstm(nnx.Rngs(0))), SEQUENCES),
        lstm_names,
    ),
    Twin(
        "lstm linen",
        "linen",
        lambda: (RecurrentTorch(nn.LSTM), tensors(SEQUENCES)),
        lambda: (LinenLstm(), built_linen(LinenLstm(), SEQUENCES), SEQUENCES),
        linen_lstm_names,
    ),
    Twin(
        "gru linen",
        "linen",
        lambda: (RecurrentTorch(nn.GRU), tensors(SEQUENCES)),
        lambda: (Gru(), built_linen(Gru(), SEQUENCES), SEQUENCES),
        gru_names,
    ),
    Twin(
        "lstm equinox",
        "equinox",
        lambda: (RecurrentTorch(nn.LSTM), tensors(SEQUENCES)),
        lambda: equinox_jax(eqx.nn.LSTMCell),
        equinox_lstm_names,
    ),
    Twin(
        "gru equinox",
        "equinox",
        lambda: (RecurrentTorch(nn.GRU), tensors(SEQUENCES)),
        lambda: equinox_jax(eqx.nn.GRUCell),
        equinox_gru_names,
    ),
    Twin(
        "lstm haiku",
        "haiku",
        lambda: (RecurrentTorch(nn.LSTM), tensors(SEQUENCES)),
        haiku_lstm_jax,
        haiku_lstm_names,
    ),
    Twin(
        "rnn",
        "function",
        lambda: (RecurrentTorch(nn.RNN), tensors(SEQUENCES)),
        rnn_jax,
        rnn_names,
    ),
]
