"""The factors of JAX models are those of their torch twins."""

import pytest

jax = pytest.importorskip("jax")
for library in ("flax", "equinox", "haiku"):
    pytest.importorskip(library)

import jax.numpy as jnp  # noqa: E402

import isoinit  # noqa: E402
import isoinit.jax as ij  # noqa: E402
from isoinit import Normal, Zeros  # noqa: E402
from isoinit.errors import ArgumentError, PlanError, TraceError  # noqa: E402
from jax_twins import TWINS, decoders, stacks  # noqa: E402
from jax_twins.sized import X, apply, build, struct  # noqa: E402

NUMBERS = ("std", "lr", "decay", "eps", "gauge", "signal")
WORDS = ("kind", "optimizer", "decays")


def compared(twin, theirs, ours):
    """All factors of a twin, by name; what is packed is that of each of its parts."""
    for name, source in twin.names().items():
        for part in source.names:
            one, other = theirs.factors[part], ours.factors[name]
            for what in WORDS:
                assert getattr(other, what) == getattr(one, what), (name, what)
            for what in NUMBERS:  # scores are divided by a float32 in JAX
                assert getattr(other, what) == pytest.approx(getattr(one, what)), (name, what)
    assert ours.notes == theirs.notes


# Wider and deeper. Layers in a scan are planned one by one, and so are their factors.
@pytest.mark.parametrize(
    ("name", "room", "options"),
    [
        ("gpt tied", decoders, {"optimizer": "muon"}),
        ("gpt scanned", decoders, {"depth": "mup", "decay": "sqrt"}),
        ("stack equinox", stacks, {"optimizer": "sgd"}),
    ],
)
def test_factors_of_twins(name, room, options, monkeypatch):
    twin, models = TWINS[name], []
    for width, depth in ((16, 1), (64, 2)):
        monkeypatch.setattr(room, "WIDTH", width)
        monkeypatch.setattr(room, "DEPTH", depth)
        models.append((twin.build_torch(), twin.build_jax()))
    (small, small_jax), (large, large_jax) = models
    theirs = isoinit.transfer(small[0], large[0], large[1][0], **options)
    given = [one[:2] if twin.library == "function" else one[0] for one in (small_jax, large_jax)]
    compared(twin, theirs, ij.transfer(*given, large_jax[-1], **options))


@pytest.mark.parametrize("name", ["mlp tanh", "mlp swiglu", "dense general"])
def test_factors_of_one_model_alone(name):
    twin = TWINS[name]
    model, batch = twin.build_torch()
    theirs = isoinit.transfer(model, batch=batch[0], unit=8)
    compared(twin, theirs, ij.transfer(*twin.build_jax(), unit=8))


def test_overrides_of_layers_in_a_scan():
    overrides = {"layers.up": Normal(std=0.5), "out": Zeros()}
    t = ij.transfer(build(16, 1), build(64), X, overrides=overrides)
    assert t.plan["layers.up"].std == pytest.approx(0.5 * t.factors["layers.up"].std)
    assert t.plan["out"].initializer == Zeros()


def test_parts_that_grow_differently_are_told():
    """A kernel that reads the input and the state side by side."""

    def loop(p, x):
        def step(h, x):
            return jnp.tanh(jnp.concatenate([x, h], -1) @ p["w"]), None

        h, _ = jax.lax.scan(step, jnp.zeros((4, 16)), x)
        return h @ p["out"]

    model = loop, {"w": struct(24, 16), "out": struct(16, 2)}, struct(5, 4, 8)
    (note,) = ij.transfer(*model, unit=8).notes[1:]
    assert "'w' is stored as one and used as several" in note
    with pytest.raises(PlanError, match=r"'w' is a hidden matrix and another is not"):
        ij.transfer(*model, unit=8, optimizer="muon")


@pytest.mark.parametrize("normed", [True, False])
def test_scores_of_vectors_that_are_divided_by_their_length(normed):
    """They sum to about one at any width; of others the scores take a factor with the width."""

    def model(width):
        def attend(p, x):
            q, k, v = (x @ p["in"] @ p[name] for name in "qkv")
            if normed:
                q, k = (y / jnp.linalg.norm(y, axis=-1, keepdims=True) for y in (q, k))
            scores = 10 * jnp.einsum("bqd,bkd->bqk", q, k)
            return jax.nn.softmax(scores, -1) @ v @ p["out"]

        square = {name: struct(width, width) for name in "qkv"}
        return attend, square | {"in": struct(8, width), "out": struct(width, 3)}

    t = ij.transfer(model(8), model(32), struct(2, 5, 8))
    gauges = [t.factors[name].gauge for name in "qk"]
    assert gauges == pytest.approx([1.0, 1.0] if normed else [0.5, 0.5])
    assert t.notes == ()


def test_integers_among_the_parameters_are_no_part_of_it():
    def table(p, x):
        return x @ p["w"] + p["at"].sum()

    params = {"w": struct(8, 2), "at": jax.ShapeDtypeStruct((3,), jnp.int32)}
    t = ij.transfer((table, params), (table, params), X)
    assert list(t.factors) == ["w"]
    assert t.notes == ()


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((build(16),), {}, "needs two models and an input"),
        ((build(16), X), {}, "needs two models and an input"),
        ((apply, build(16)[1], X), {}, "the target is a dict: expected a module of Flax NNX"),
        ((apply, apply, X), {}, r"the base cannot be read: there are no inputs.*; expected a mod"),
        ((build, X), {"base": 64, "target": 16}, "base=64 is larger than target=16"),
        ((build, X), {"base": 64}, "target=None: expected an integer"),
        ((build(16), X), {"base": 16, "target": 64}, "base=16 needs a function"),
        ((lambda n: 1 / 0, X), {"base": 1, "target": 2}, r"build\(1\) failed: ZeroDivisionError"),
        ((*build(16), X), {"unit": 0.0}, "unit=0.0: expected a width above 0"),
        ((*build(16), X), {"unit": 8, "base": 8}, "unit= is for a single model without a base"),
        ((build, X), {"base": 8, "target": 16, "optimizer": "lion"}, "optimizer='lion'"),
    ],
)
def test_other_models_are_refused(arguments, options, said):
    with pytest.raises(ArgumentError, match=said):
        ij.transfer(*arguments, **options)


def test_models_of_other_kinds_are_refused():
    with pytest.raises(PlanError, match=r"'layers.bias' has no counterpart"):
        ij.transfer(build(16, 3), build(64, 1), X)
    with pytest.raises(PlanError, match="Tune the smaller model"):
        ij.transfer(build(64), build(16), X)
    with pytest.raises(TraceError, match="the target cannot be read: apply failed"):
        ij.transfer(build(16), (apply, build(64)[1] | {"out": struct(3, 2)}), X)
