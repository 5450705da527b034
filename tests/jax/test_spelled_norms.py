"""Norm layers whose scale multiplies the inverse deviation, and whose mean goes at the end."""

import numpy as np
import pytest
import torch
from torch import nn

jax = pytest.importorskip("jax")

import isoinit  # noqa: E402
import isoinit.jax as ij  # noqa: E402

X = np.random.default_rng(0).standard_normal((64, 40)).astype(np.float32)


def normed(x, scale, shift, axis):
    """x·a + (shift - mean·a), with a = scale/σ: as Keras has it under JAX."""
    mean, var = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
    inverse = jax.lax.rsqrt(var + 1e-3) * scale
    return x * inverse + (-mean * inverse + shift)


def apply(params, x, axis, several=False):
    x = x @ params["0"]
    found = normed(x, *params["1"], axis)
    if several:
        found = found + normed(x, *params["2"], axis)
    return jax.nn.relu(found) @ params["3"]


class Twin(nn.Module):
    """The same of torch's own layers."""

    def __init__(self, norm, several):
        super().__init__()
        self.first, self.last = nn.Linear(40, 48, bias=False), nn.Linear(48, 8, bias=False)
        self.norms = nn.ModuleList(norm(48) for _ in range(1 + several))

    def forward(self, x):
        x = self.first(x)
        return self.last(torch.relu(sum(norm(x) for norm in self.norms)))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("axis", "norm"), [(-1, nn.LayerNorm), (0, nn.BatchNorm1d)])
def test_such_a_norm_is_planned_as_the_layer_of_torch(axis, norm, several):
    """The sum of two norms is none: it has another size."""

    def struct(*shape):
        return jax.ShapeDtypeStruct(shape, "float32")

    vectors = (struct(48), struct(48))
    params = {"0": struct(40, 48), "1": vectors, "2": vectors, "3": struct(48, 8)}
    if not several:
        del params["2"]
    ours = ij.plan(lambda p, x: apply(p, x, axis, several), params, X)
    theirs = isoinit.plan(Twin(norm, several), torch.from_numpy(X), keep="nothing")
    pairs = {
        "0": "first.weight",
        "1.0": "norms.0.weight",
        "1.1": "norms.0.bias",
        "3": "last.weight",
    }
    pairs |= {"2.0": "norms.1.weight", "2.1": "norms.1.bias"} if several else {}
    for name, twin in pairs.items():
        assert ours[name].role.split()[0] == theirs[twin].role.split()[0]
        assert type(ours[name].initializer) is type(theirs[twin].initializer)
        assert ours[name].std == pytest.approx(theirs[twin].std, rel=0.02)
