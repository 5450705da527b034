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


def length(x, how):
    if how == "kept axis":
        return x / jax.numpy.linalg.norm(x, axis=-1, keepdims=True)
    if how == "squeezed":
        return x / jax.numpy.sqrt((x * x).sum(-1))[:, None]
    if how == "bounded":
        return x / jax.numpy.maximum(jax.numpy.linalg.norm(x, axis=-1, keepdims=True), 1e-6)
    if how == "one by one":
        return jax.vmap(lambda row: row / jax.numpy.linalg.norm(row))(x)
    if how == "root of n":
        return x * jax.lax.rsqrt((x**2).sum(-1, keepdims=True) + 1e-6) * x.shape[-1] ** 0.5
    if how == "examples":
        return x / jax.numpy.linalg.norm(x, axis=0, keepdims=True)
    raise AssertionError(how)


@pytest.mark.parametrize(
    ("how", "size"),
    [
        *((how, 300**-0.5) for how in ("kept axis", "squeezed", "bounded", "one by one")),
        ("root of n", 1.0),
        ("examples", 64**-0.5),
    ],
)
def test_what_is_divided_by_its_length_is_small(how, size):
    """Before, it counted as of unit size, and the weights behind were as many times too small."""
    draw = np.random.default_rng(1)
    shapes = {"a": (40, 300), "b": (300, 64)}
    params = {name: draw.standard_normal(shape, np.float32) for name, shape in shapes.items()}

    def apply(params, x):
        return length(x @ params["a"], how) @ params["b"]

    plan = ij.plan(apply, params, X)
    assert plan["b"].std == pytest.approx(1 / size / 300**0.5, rel=0.01)
    output = np.asarray(apply(plan.fill(params), X))
    assert np.sqrt(np.square(output).mean()) == pytest.approx(1.0, rel=0.1)
