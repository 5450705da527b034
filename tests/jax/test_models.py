"""Models as pure functions of named parameters, and what is refused."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

jax = pytest.importorskip("jax")
nnx = pytest.importorskip("flax.nnx")
nn = pytest.importorskip("flax.linen")
eqx = pytest.importorskip("equinox")
hk = pytest.importorskip("haiku")

import jax.numpy as jnp  # noqa: E402

from isoinit.errors import ArgumentError, TraceError  # noqa: E402
from isoinit.jax.models import model_of, traced  # noqa: E402
from jaxprs import KEY, X, applied, bits, equal, same_reading  # noqa: E402

# Functions of a tree


def mlp(params, x):
    for layer in params["layers"]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    return x


def mlp_params():
    layers = [{"w": jax.random.normal(KEY, (8, 8)), "b": jnp.ones(8)} for _ in range(2)]
    return {"layers": layers}


def test_function():
    params = mlp_params()
    model = model_of(mlp, params, X)
    assert (model.library, model.name, model.state) == ("function", "mlp", {})
    assert list(model.names) == ["layers.0.b", "layers.0.w", "layers.1.b", "layers.1.w"]
    assert model.params is params
    assert model.aliases == {}
    assert model.kept == ()
    assert equal(applied(model), mlp(params, X))
    same_reading(model, (5, 8))
    other = jax.tree.map(jnp.zeros_like, params)
    assert equal(model.replaced(other), other)
    with pytest.raises(ArgumentError, match="cannot be changed in place"):
        model.assign(other)


def test_function_on_abstract_values_takes_no_memory():
    size = 1 << 20  # 4 TiB a matrix
    params = {"w": jax.ShapeDtypeStruct((size, size), jnp.float32)}
    x = jax.ShapeDtypeStruct((2, size), jnp.float32)
    same_reading(model_of(lambda p, x: x @ p["w"], params, x), (2, size))


def test_compiled_and_partial_functions_have_names():
    params = mlp_params()
    assert model_of(jax.jit(mlp), params, X).name == "mlp"
    assert model_of(partial(mlp), params, X).name == "mlp"
    model = model_of(eqx.filter_jit(mlp), params, X)  # an Equinox module without parameters
    assert model.library == "function"
    assert next(iter(model.names)) == "layers.0.b"
    same_reading(model, (5, 8))


def test_settings_keys_and_integers_of_a_tree():
    tree = {
        "act": jnp.tanh,
        "ids": jnp.arange(5),
        "key": jax.random.key(0),
        "scale": 2.0,
        "w": jnp.ones((8, 3)),
    }

    def apply(tree, x):
        noise = jax.random.normal(tree["key"], x.shape)
        return tree["act"]((x + noise) @ tree["w"]) * tree["scale"] + tree["ids"][:, None]

    model = model_of(apply, tree, X)
    assert list(model.names) == ["ids", "w"]
    assert model.kept == ("ids",)
    assert [leaf.dtype for leaf in jax.tree.leaves(model.state)] == [tree["key"].dtype]
    assert equal(applied(model), apply(tree, X))
    same_reading(model, (5, 3))
    other = model.replaced(jax.tree.map(jnp.zeros_like, model.params))
    assert other["act"] is jnp.tanh
    assert other["scale"] == 2.0
    assert not other["w"].any()
    assert bits(other["key"]) == bits(tree["key"])


def test_float64_of_numpy_is_of_the_type_that_jax_computes_with():
    params = {"w": np.ones((8, 2))}
    model = model_of(lambda p, x: x @ p["w"], params, np.ones((3, 8)))
    assert model.names["w"].dtype == jnp.asarray(params["w"]).dtype  # float32 without x64
    assert traced(model)[0].in_avals[0].dtype == jnp.asarray(params["w"]).dtype


def test_arguments_by_name():
    def apply(params, x, *, mask, train, layers=None):
        assert train is False
        assert layers == [1, "a"]
        return (x * mask["m"]) @ params["w"]

    mask = {"m": jnp.arange(8.0)}
    kwargs = {"mask": mask, "train": False, "layers": [1, "a"]}
    params = {"w": jnp.ones((8, 2))}
    model = model_of(apply, params, X, kwargs=kwargs)
    assert len(model.inputs) == 2
    assert [leaf.shape for leaf in jax.tree.leaves(model.inputs[1])] == [(8,)]
    assert equal(applied(model), apply(params, X, **kwargs))
    same_reading(model, (5, 2))
    by_name = model_of(lambda p, x: x @ p["w"], params, kwargs={"x": X})
    same_reading(by_name, (5, 2))


# Errors


def test_what_is_no_model():
    params = mlp_params()
    torch = pytest.importorskip("torch")
    for model, args, said in (
        (torch.nn.Linear(8, 8), (X,), "Use isoinit.plan instead"),
        (params, (mlp, X), "of type dict; plan takes"),
        (nnx.Linear, (X,), "the model is the class Linear"),
        (hk.multi_transform(lambda: (jnp.abs, (jnp.abs, jnp.abs))), ({}, X), "hk.multi_transform"),
        (eqx.nn.StateIndex(jnp.ones(3)), (), "has no __call__|of type equinox"),
        (mlp, (), "mlp is a function without its parameters"),
        (hk.transform(mlp), (), "needs params as the next argument"),
    ):
        with pytest.raises(ArgumentError, match=said):
            model_of(model, *args)


def test_no_parameters():
    for model, args in (
        (mlp, ({"layers": []}, X)),
        (mlp, ({"layers": [jnp.arange(3)]}, X)),
        (mlp, ({"scale": 1.5}, X)),
        (nnx.Dropout(0.5, rngs=nnx.Rngs(0)), (X,)),
    ):
        with pytest.raises(ArgumentError, match="has no parameters"):
            model_of(model, *args)


def test_two_parameters_of_one_name():
    with pytest.raises(ArgumentError, match=r"\['a.b'\]"):
        model_of(mlp, {"a.b": X, "a": {"b": X}}, X)


class Unknown:
    """What jax.ShapeDtypeStruct((None, 8), jnp.float32) was before JAX 0.12, which refuses it."""

    shape, dtype = (None, 8), jnp.dtype("float32")


def test_inputs():
    params = mlp_params()
    (symbol,) = jax.export.symbolic_shape("batch")
    for inputs, said in (
        ((), "there are no inputs"),
        ((None,), "there are no inputs"),
        ((X, False), r"inputs\[1\] is a bool: False. Pass a setting by its name"),
        ((X, {"a": 0.5}), r"inputs\[1\]\['a'\] is a float"),
        (("text",), r"inputs\[0\] is a str"),
        ((object(),), r"inputs\[0\] is an object; expected a JAX or NumPy array"),
        (
            (jax.ShapeDtypeStruct((symbol, 8), jnp.float32),),
            r"shape \(batch, 8\) with an unknown size",
        ),
        ((Unknown(),), r"inputs\[0\] has shape \(None, 8\)"),
    ):
        with pytest.raises(ArgumentError, match=said):
            model_of(mlp, params, *inputs)
    with pytest.raises(ArgumentError, match="there are no inputs"):
        model_of(nnx.Linear(8, 8, rngs=nnx.Rngs(0)))
    unknown = {"layers": [Unknown()]}
    with pytest.raises(ArgumentError, match=r"params\['layers'\]\[0\] has shape"):
        model_of(mlp, unknown, X)


def test_torch_tensors_as_inputs():
    torch = pytest.importorskip("torch")
    with pytest.raises(ArgumentError, match=r"inputs\[0\] is a torch.Tensor"):
        model_of(mlp, mlp_params(), torch.zeros(5, 8))


# What the user's code raises


def wrong_shapes(params, x):
    return x.T @ params["layers"][0]["w"]  # the line that is quoted


def branches(params, x):
    y = x @ params["layers"][0]["w"]
    if y.sum() > 0:
        return y
    return -y


def to_numpy(params, x):
    return np.asarray(x)


@pytest.mark.parametrize(
    ("function", "kind", "line", "hint"),
    [
        (wrong_shapes, "TypeError: dot_general", "the line that is quoted", "kwargs="),
        (branches, "TracerBoolConversionError: Attempted", "if y.sum() > 0:", "jax.lax.cond"),
        (to_numpy, "TracerArrayConversionError", "return np.asarray(x)", "jnp.where"),
    ],
)
def test_errors_are_quoted_with_the_users_line(function, kind, line, hint):
    with pytest.raises(TraceError) as caught:
        traced(model_of(function, mlp_params(), X))
    said = str(caught.value)
    assert function.__name__ in said
    assert "float32[5, 8]" in said
    assert "test_models.py" in said
    assert kind in said
    assert line in said
    assert hint in said
    assert "\n" not in said
    assert caught.value.__cause__ is not None


def test_the_line_is_the_users_in_each_library():
    class Inner(nnx.Module):
        def __init__(self):
            self.layer = nnx.Linear(7, 2, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.layer(x)  # of NNX

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dense(2)(x)

    class Equinox(eqx.Module):
        layer: eqx.nn.Linear

        def __call__(self, x):
            return self.layer(x)  # of Equinox

    variables = {"params": {"Dense_0": {"kernel": X, "bias": X[0]}}}
    net = hk.transform(lambda x: hk.Linear(3)(x))  # of Haiku
    params = {"linear": {"w": jnp.ones((7, 3)), "b": jnp.ones(3)}}
    for model, said in (
        (model_of(Inner(), X), "# of NNX"),
        (model_of(Equinox(eqx.nn.Linear(7, 2, key=KEY)), X[0]), "# of Equinox"),
        (model_of(net, params, X), "# of Haiku"),
        (model_of(Outer(), variables, X), "missing 1 required positional argument: 'train'"),
    ):
        with pytest.raises(TraceError) as caught:
            traced(model)
        assert said in str(caught.value), str(caught.value)


def test_nothing_returned():
    with pytest.raises(TraceError, match="returned no array"):
        traced(model_of(lambda p, x: None, mlp_params(), X))
    with pytest.raises(TraceError, match="TypeError"):
        traced(model_of(lambda p, x: "text", mlp_params(), X))
