"""`isoinit.jax.compare`: the numbers of torch's on the twin, of `check`, and of a training by hand."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

jax = pytest.importorskip("jax")
for library in ("flax", "equinox", "haiku", "optax"):
    pytest.importorskip(library)

import equinox as eqx  # noqa: E402
import flax.linen as nn  # noqa: E402
import haiku as hk  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402
import torch  # noqa: E402
from flax import nnx  # noqa: E402

import isoinit  # noqa: E402
import isoinit.jax as ij  # noqa: E402
from compiled import environment  # noqa: E402
from isoinit._verifying.comparing import METHODS  # noqa: E402
from isoinit.errors import ArgumentError, Interrupted, PlanError, TraceError  # noqa: E402

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((32, 16)).astype(np.float32)
Y = DRAW.integers(0, 4, 32)
SIZES = [(16, 16)] * 2 + [(4, 16)]
PARAMS = {
    str(2 * i): {
        "weight": DRAW.standard_normal(size).astype(np.float32) / 4,
        "bias": np.zeros(size[0], np.float32),
    }
    for i, size in enumerate(SIZES)
}


def net(p, x):
    for number, layer in p.items():
        x = x if number == "0" else jax.nn.relu(x)
        x = x @ layer["weight"].T + layer["bias"]
    return x


def build():
    layers = [part for out, into in SIZES for part in (torch.nn.Linear(into, out), torch.nn.ReLU())]
    model = torch.nn.Sequential(*layers[:-1])
    values = {
        f"{number}.{kind}": torch.from_numpy(array.copy())
        for number, layer in PARAMS.items()
        for kind, array in layer.items()
    }
    model.load_state_dict(values)
    return model


def cross_entropy(output, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(output), labels[:, None], 1).mean()


def compare(methods=("default", "plan"), **more):
    return ij.compare(net, PARAMS, (X, Y), loss=cross_entropy, methods=methods, **more)


def losses(found, method, run=0):
    return found[method].runs[run].losses


def timeless(found):
    """A comparison as data, without its times."""
    data = json.loads(found.to_json())
    for method in data["methods"]:
        del method["fill_seconds"], method["step_seconds"]
        for run in method["runs"]:
            del run["seconds"]
    return data


SOME = ("default", "plan", "zero", "he", "xavier")
COMMON = {"steps": 8, "seeds": [3], "lr": 1e-2}


@pytest.fixture(scope="module", params=["a loss", "noise"])
def both(request):
    """The comparison of torch, and ours."""
    if request.param == "noise":
        few = {"methods": ["default", "plan"], **COMMON}
        return isoinit.compare(build, torch.from_numpy(X), **few), ij.compare(net, PARAMS, X, **few)
    batch, loss = (torch.from_numpy(X), torch.from_numpy(Y)), torch.nn.CrossEntropyLoss()
    theirs = isoinit.compare(build, batch, loss=loss, methods=SOME, **COMMON)
    return theirs, compare(SOME, **COMMON)


class TestTwins:
    """torch's comparison of the same model: all methods begin with the same bits."""

    def test_the_same_signal_and_verdict(self, both):
        for theirs, ours in zip(*both, strict=True):
            assert ours.method == theirs.method
            assert ours.verdict == theirs.verdict
            for curve in ("forward", "backward"):
                expected = getattr(theirs.health, curve)
                assert getattr(ours.health, curve) == pytest.approx(expected, rel=2e-4, abs=1e-30)
            assert ours.health.loss == pytest.approx(theirs.health.loss, rel=1e-5)
            assert ours.health.chance == theirs.health.chance
            assert [f.name for f in ours.health.findings] == [
                f.name for f in theirs.health.findings
            ]

    def test_the_same_trainings(self, both):
        theirs, ours = both
        assert ours.best == theirs.best
        for theirs_of, ours_of in zip(theirs, ours, strict=True):
            for run, expected in zip(ours_of.runs, theirs_of.runs, strict=True):
                assert run.seed == expected.seed
                assert run.losses == pytest.approx(expected.losses, rel=1e-3)

    def test_the_same_words_and_order(self, both):
        """Two tables with the same columns and methods, the best first."""
        theirs, ours = (str(found).replace("Sequential", "net") for found in both)
        assert both[0].task == both[1].task

        def words(shown):
            lines = [line.split() for line in shown.splitlines() if line and "──" not in line]
            return [line[0] if line[0] in METHODS else line for line in lines]

        assert words(ours) == words(theirs)
        assert json.loads(both[0].to_json()).keys() == json.loads(both[1].to_json()).keys()


@pytest.fixture(scope="module")
def found():
    before = jax.tree.map(np.copy, PARAMS)
    found = compare(["default", "he", "plan"], steps=5, seeds=[5, 1], lr=0.01)
    jax.tree.map(np.testing.assert_array_equal, PARAMS, before)  # nothing was changed
    return found


class TestNumbers:
    def test_health_is_that_of_check(self, found):
        plan = ij.plan(net, PARAMS, X, method="he")
        params = plan.fill(PARAMS, seed=5)
        expected = ij.check(net, params, (X, Y), loss=cross_entropy, plan=plan)
        assert found["he"].health == expected

    def test_losses_are_those_of_a_training_by_hand(self, found):
        params = ij.init(net, PARAMS, X, seed=1)
        adam = optax.adam(0.01)
        state, by_hand = adam.init(params), []
        descent = jax.jit(jax.value_and_grad(lambda p: cross_entropy(net(p, X), Y)))
        for _ in range(5):
            value, gradients = descent(params)
            updates, state = adam.update(gradients, state)
            params = optax.apply_updates(params, updates)
            by_hand.append(float(value))
        assert losses(found, "plan", 1) == pytest.approx(by_hand, rel=1e-5)

    def test_sgd(self):
        """A loss that is linear falls by the learning rate times the gradient's square."""
        w, size = np.ones((16, 4), np.float32), float(X.sum(0) @ X.sum(0)) * 4
        found = ij.compare(
            lambda p, x: x @ p,
            w,
            X,
            methods=["default"],
            steps=3,
            loss=lambda output: output.sum(),
            optimizer="sgd",
            lr=1e-3,
        )
        expected = [X.sum() * 4 - 1e-3 * size * step for step in range(3)]
        assert losses(found, "default") == pytest.approx(expected, rel=1e-5)

    def test_the_same_arguments_give_the_same_numbers(self, found):
        again = timeless(compare(["plan"], steps=5, seeds=[5, 1], lr=0.01))
        assert again["methods"] == timeless(found)["methods"][2:]

    def test_bytes(self):
        """Weights, their gradients and Adam's moments, its count, and the input that is kept."""
        w = np.ones((16, 4), np.float32)
        found = ij.compare(
            lambda p, x: x @ p, w, X, methods=["default"], steps=1, loss=lambda out: out.sum()
        )
        assert found["default"].bytes == 4 * (4 * w.size + 1 + X.size)

    def test_a_complex_parameter_goes_downhill(self):
        w = (DRAW.standard_normal((16, 4)) + 1j * DRAW.standard_normal((16, 4))).astype(
            np.complex64
        )
        found = ij.compare(
            lambda p, x: x @ p, w, X, methods=["default"], steps=20, lr=1e-2, seeds=[0]
        )
        down = losses(found, "default")
        assert list(down) == sorted(down, reverse=True)
        assert down[-1] < down[0]


def test_a_deep_plain_stack_is_for_the_plan():
    """Of twenty ReLU layers LeCun's halve the signal's square each: 2**-10 is left of its size."""
    params = {f"w{i:02}": jax.ShapeDtypeStruct((32, 32), "float32") for i in range(20)}
    x = DRAW.standard_normal((64, 32)).astype(np.float32)

    def deep(p, x):
        for w in p.values():
            x = jax.nn.relu(x @ w)
        return x

    found = ij.compare(deep, params, x, methods=["default", "plan", "lecun"], steps=20, seeds=[0])
    assert found["plan"].health.ok
    assert not found["lecun"].health.ok
    assert found.best == "plan"
    shrunk = found["lecun"].health.layers[-1].rms / found["lecun"].health.layers[0].rms
    assert math.log2(shrunk) == pytest.approx(-9.5, abs=3)
    assert found["default"].verdict == "failed"  # it holds no values
    assert "have no values here" in found["default"].error


# The libraries


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first, self.last = nnx.Linear(16, 8, rngs=rngs), nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        return self.last(jax.nn.relu(self.first(x)))


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8)(x)
        x = nn.BatchNorm(use_running_average=False)(x)
        return nn.Dense(4)(jax.nn.relu(x))


class Equinox(eqx.Module):
    first: eqx.nn.Linear
    last: eqx.nn.Linear

    def __init__(self, seed):
        one, two = jax.random.split(jax.random.key(seed))
        self.first, self.last = eqx.nn.Linear(16, 8, key=one), eqx.nn.Linear(8, 4, key=two)

    def __call__(self, x):
        return jax.vmap(lambda row: self.last(jax.nn.relu(self.first(row))))(x)


HAIKU = hk.transform_with_state(lambda x: hk.Linear(4)(jax.nn.relu(hk.Linear(8)(x))))
FORMS = {
    "nnx": (lambda: (nnx.jit(lambda: Nnx(nnx.Rngs(0)))(),), 0, 6),
    "linen": (lambda: (Linen(), jax.jit(Linen().init)(jax.random.key(0), X)), 1, 6),
    "equinox": (lambda: (eqx.filter_jit(Equinox)(0),), 0, 0),
    "haiku": (lambda: (HAIKU, jax.jit(HAIKU.init)(jax.random.key(0), X)), 1, 0),
}


QUICK = [f if f == "linen" else pytest.param(f, marks=pytest.mark.slow) for f in FORMS]


@pytest.mark.parametrize("form", QUICK)  # each is read in `test_forms`
def test_libraries(form):
    """A function of one's own gets a copy of what the library has; nothing of that changes."""
    made, place, steps = FORMS[form]
    given, held = made(), []
    before = jax.tree.leaves(given[place])
    calls = iter([True, False])

    def again(parameters, seed):
        held.append(parameters)
        return parameters if next(calls) else None

    methods = {"default": "default", "plan": "plan", "given": again, "as it is": again}
    found = ij.compare(
        *given, (X, Y), loss=cross_entropy, methods=methods, steps=steps, seeds=[1], lr=2e-2
    )
    assert not any(compared.error for compared in found)
    assert all(type(parameters) is type(given[place]) for parameters in held)
    assert all(parameters is not given[place] for parameters in held)
    assert found["as it is"].health == found["given"].health == found["default"].health
    assert found["plan"].health.forward != found["default"].health.forward
    assert all(run.losses[-1] < run.losses[0] for compared in found for run in compared.runs)
    assert [len(compared.runs) for compared in found] == [bool(steps)] * 4
    after = jax.tree.leaves(given[place])
    assert all(a is b for a, b in zip(after, before, strict=True))


def test_values_of_a_function_of_ones_own():
    """Values in float64 under each seed: the loss is that of the model with the same in float32."""

    def drawn(held, seed):
        draw = np.random.default_rng(seed)
        return jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape) / 4, held)

    struct = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), PARAMS)
    ours = ij.compare(
        net, struct, (X, Y), loss=cross_entropy, methods={"ours": drawn}, steps=1, seeds=[3, 4]
    )
    for run in ours["ours"].runs:
        made = jax.tree.map(lambda leaf: leaf.astype(np.float32), drawn(PARAMS, run.seed))
        assert run.losses[0] == pytest.approx(float(cross_entropy(net(made, X), Y)), rel=1e-5)


def test_dropout_follows_step_and_seed_and_no_method():
    """The output of weights of one counts what was dropped: the loss tells which numbers."""
    layer = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

    class Counts(nnx.Module):
        def __init__(self):
            self.scale, self.drop = nnx.Param(jnp.ones(())), layer

        def __call__(self, x):
            return self.scale * self.drop(jnp.ones(4096)).mean() + 0 * x.mean()

    ones = {"default": "default", "same": lambda module, seed: Counts()}
    found = ij.compare(
        Counts(), X, loss=lambda out: out, methods=ones, steps=3, seeds=[0, 1], lr=1e-9
    )
    first, second = (losses(found, "default", run) for run in (0, 1))
    assert len({*first, *second}) == 6
    assert losses(found, "same") == first


@pytest.mark.slow
def test_on_two_devices_without_torch_and_without_optax():
    """Parameters on a mesh whose axes are explicit train as on one device."""
    program = """
import sys
sys.modules["torch"] = None
import jax, numpy as np, isoinit.jax as ij
from isoinit.errors import PackageError
from jax.sharding import AxisType, NamedSharding, PartitionSpec
net = lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"]
x = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
params = {"a": np.eye(8, dtype=np.float32), "b": x[:8] / 2}
mesh = jax.make_mesh((2,), ("m",), axis_types=(AxisType.Explicit,))
sharded = jax.device_put(params, NamedSharding(mesh, PartitionSpec(None, "m")))
given = {"methods": {"default": "default", "plan": "plan", "ours": lambda held, seed: params}}
assert ij.compare(net, sharded, x, **given)["plan"].health.ok
assert not any(name.partition(".")[0] == "optax" for name in sys.modules)
given |= {"steps": 3, "seeds": [0]}
one, two = (ij.compare(net, p, x, **given) for p in (params, sharded))
for method in given["methods"]:
    got, expected = two[method].runs[0].losses, one[method].runs[0].losses
    np.testing.assert_allclose(got, expected, rtol=1e-5)
assert two["ours"].runs[0].losses == two["default"].runs[0].losses
for name in [name for name in sys.modules if name.partition(".")[0] == "optax"]:
    sys.modules[name] = None
del sys.modules["isoinit.jax.trainings"]
try:
    ij.compare(net, params, x, **given)
except PackageError as error:
    print(error)
"""
    told = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(2, quickly=True),
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert "isoinit.jax.compare with steps needs optax" in told.stdout


class TestShown:
    def test_without_steps_the_signal_alone(self, tmp_path):
        found = compare(["default", "plan"])
        assert (found.best, found.steps, found.seeds) == (None, 0, (0,))
        assert not found["plan"].runs
        assert "first–last" in str(found)
        assert "steps of" not in str(found)
        data = json.loads(found.to_json())
        assert [m["final"] for m in data["methods"]] == [None, None]
        page = tmp_path / "page.html"
        found.to_html(page)
        assert "<!doctype html>" in page.read_text(encoding="utf-8")

    def test_ctrl_c_keeps_what_is_done(self):
        def stops(_params, seed):
            if seed == 1:
                raise KeyboardInterrupt

        with pytest.raises(Interrupted) as stopped:
            ij.compare(
                lambda p, x: x @ p,
                np.ones((16, 4), np.float32),
                X,
                methods={"plan": "plan", "stops": stops},
                steps=2,
                seeds=[0, 1],
            )
        found = stopped.value.done
        assert not found.complete
        assert [len(c.runs) for c in found] == [2, 1]


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"methods": ["kaiming"]}, "'kaiming'.*what holds the parameters, and a seed"),
            ({"methods": "plan"}, r"\['plan'\]"),
            ({"methods": []}, "methods is empty"),
            ({"steps": -1}, "steps=-1: expected an integer of at least 0"),
            ({"seeds": []}, r"seeds=\[\]"),
            ({"seeds": 3}, "seeds=3"),
            ({"optimizer": "lion"}, "optimizer='lion'"),
            ({"lr": 0}, "lr=0"),
        ],
    )
    def test_refused_before_anything_runs(self, arguments, said):
        def never(_params, _x):
            raise AssertionError("run")

        with pytest.raises(ArgumentError, match=said):
            ij.compare(never, PARAMS, X, **arguments)

    def test_a_model_that_fails(self):
        with pytest.raises(TraceError, match="failed while it was traced"):
            ij.compare(net, PARAMS, X[:, :3], methods=["plan"])

    def test_inputs_without_values(self):
        with pytest.raises(ArgumentError, match="inputs have no values"):
            ij.compare(net, PARAMS, jax.ShapeDtypeStruct((8, 16), "float32"), methods=["plan"])

    def test_a_loss_of_many_numbers(self):
        with pytest.raises(ArgumentError, match="one real number"):
            ij.compare(net, PARAMS, X, loss=lambda output: output, methods=["plan"])

    def test_nothing_to_train(self):
        def frozen(p, x):
            return jax.lax.stop_gradient(net(p, x))

        with pytest.raises(ArgumentError, match="does not depend on a trainable parameter"):
            ij.compare(frozen, PARAMS, X, methods=["plan"])

    def test_a_method_that_fails_is_listed(self):
        faults = {
            "another tree": lambda held, seed: {**held, "8": {"weight": X}},
            "an error": lambda held, seed: 1 / 0,
            "a number": lambda held, seed: 3,
        }
        found = compare({**faults, "default": "default"})
        assert [c.verdict for c in found] == ["failed", "failed", "failed", "healthy"]
        assert "PlanError: the parameter '8." in found["another tree"].error
        assert found["an error"].error == "ZeroDivisionError: division by zero"
        assert "ArgumentError: " in found["a number"].error
        assert "an error: ZeroDivisionError" in str(found)

    def test_a_state_without_values(self):
        model = Linen()
        variables = jax.eval_shape(model.init, jax.random.key(0), X)
        with pytest.raises(PlanError, match="state of Linen has no values"):
            ij.compare(model, variables, X, methods=["plan"])
