"""What a plan gives queries and keys of attention that is written in JAX."""

import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import isoinit.jax as ij  # noqa: E402

WIDTH, HEADS, WIDE, PLACES = 32, 4, 16, 12
PARAMS = {n: jnp.zeros((WIDTH, HEADS * WIDE)) for n in "qkv"} | {
    "o": jnp.zeros((HEADS * WIDE, WIDTH))
}
X = np.random.default_rng(0).standard_normal((8, PLACES, WIDTH), np.float32)


def rotated(x):
    one, two = jnp.split(x, 2, -1)
    angles = jnp.arange(PLACES)[:, None] * 0.3 ** jnp.arange(WIDE // 2)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.concatenate([one * cos - two * sin, two * cos + one * sin], -1)


def attention(kind):
    """A branch of attention, with what the words of its kind name."""

    def apply(params, x):
        y = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
        split = ((y @ params[name]).reshape(*x.shape[:2], HEADS, WIDE) for name in "qkv")
        q, k, v = (part.transpose(0, 2, 1, 3) for part in split)
        if "rotary" in kind:
            q, k = rotated(q), rotated(k)
        if "cached" in kind:
            k, v = (jnp.concatenate([jnp.zeros_like(y[:, :, :1]), y], 2) for y in (k, v))
        if "queries" in kind:
            q = q * WIDE**-0.5
        scores = jnp.einsum("bhqd,bhkd->bhqk", q, k)
        if "divided" in kind:
            scores = scores / WIDE**0.5
        if "causal" in kind:
            scores = jnp.where(jnp.tril(jnp.ones((PLACES, PLACES), bool)), scores, -jnp.inf)
        mixed = jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores, -1), v)
        return x + mixed.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1) @ params["o"]

    return apply


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("plain", WIDE**-0.5),
        ("causal", WIDE**-0.5),
        ("rotary", WIDE**-0.5),
        ("cached", WIDE**-0.5),
        ("cached divided", 1),
        ("divided", 1),
        ("causal divided", 1),
        ("rotary queries causal", 1),
    ],
)
def test_queries_and_keys(kind, expected):
    plan = ij.plan(attention(kind), PARAMS, X)
    found = [plan[name].std ** 2 * WIDTH for name in "qkv"]
    assert found == pytest.approx([expected, expected, 1], rel=0.01)


def test_queries_that_are_learned():
    def apply(p, x):
        k, v = x @ p["k"], x @ p["v"]
        scores = jnp.einsum("nd,btd->bnt", p["seeds"], k) / 8
        return jax.nn.softmax(scores, -1) @ v @ p["o"]

    struct = jax.ShapeDtypeStruct
    shapes = {"seeds": (4, 64), "k": (32, 64), "v": (32, 64), "o": (64, 5)}
    params = {name: struct(shape, "float32") for name, shape in shapes.items()}
    plan = ij.plan(apply, params, struct((8, 20, 32), "float32"))
    assert plan["seeds"].std == pytest.approx(1.0, rel=0.01)
