"""Runs Keras under one backend and writes what was found into a folder: `program.py folder`.

KERAS_BACKEND is read when Keras is imported, so each backend needs a process of its own.
"""

import hashlib
import json
import sys
from pathlib import Path

# Keras imports these where they are installed, for a second, and nothing of them is used here.
sys.modules |= dict.fromkeys(("sklearn", "flax"))

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402
from models import MODELS, Einsums, floats  # noqa: E402

import isoinit  # noqa: E402
import isoinit.keras  # noqa: E402
from isoinit.keras.declared import declared  # noqa: E402

BACKEND = keras.config.backend()
if BACKEND == "jax":  # compiling Keras's own initializers takes longer than all that is tested

    def zeros(self, shape, dtype=None, **options):
        return np.zeros(shape, dtype or "float32")

    for kind in ("GlorotUniform", "Orthogonal", "RandomUniform"):
        getattr(keras.initializers, kind).__call__ = zeros


def array(variable):
    return np.asarray(keras.ops.convert_to_numpy(variable.value))


def hashes(variables):
    return {v.path: hashlib.sha256(array(v).tobytes()).hexdigest() for v in variables}


def plans(folder):
    """Save plan and values of each model; tell what `plan` changed, and what `init` assigned."""
    told = {}
    for name, make in MODELS.items():
        model, x = make()
        if not model.built:
            model(x)
        before = hashes(model.variables)
        plan = isoinit.keras.plan(model, x)
        unchanged = hashes(model.variables) == before
        plan.save(folder / f"{name} {BACKEND}.json")
        isoinit.keras.apply(plan, model, seed=3)
        np.savez(
            folder / f"{name} {BACKEND}.npz",
            **{v.path: array(v) for v in model.trainable_variables},
        )
        state = {v.path for v in model.non_trainable_variables}
        after = hashes(model.variables)
        told[name] = {
            "unchanged": unchanged,
            "state kept": all(after[path] == before[path] for path in state),
            "state": sorted(state),
            "sizes": sizes(model, x, plan) if name in ("mlp", "transformer") else {},
        }
    return told


def sizes(model, x, plan):
    """The root mean square of what each layer without an activation gives in training."""
    found = {}
    for layer in model.layers:
        entry = next((e for e in plan if e.name.endswith(f"{layer.name}/kernel")), None)
        if entry is None or layer.activation is not keras.activations.linear:
            continue
        until = keras.Model(model.inputs, layer.output)
        y = keras.ops.convert_to_numpy(until(x, training=True))
        found[layer.name] = float(np.sqrt(np.square(y).mean())), entry.expected
    return found


def applied(folder, by, names=MODELS):
    """Apply plans that were saved under a backend; return how many variables differ in a bit."""
    told = {}
    for name in names:
        model, x = MODELS[name]()
        if not model.built:
            model(x)
        isoinit.keras.apply(isoinit.Plan.load(folder / f"{name} {by}.json"), model, seed=3)
        with np.load(folder / f"{name} {by}.npz") as values:
            told[name] = [
                v.path
                for v in model.trainable_variables
                if array(v).tobytes() != values[v.path].tobytes()
            ]
    return told


def small(**options):
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(4, name="one", **options),
            layers.Dense(2, name="two"),
        ],
        name="small",
    )


def training():
    """Compile, train a step, initialize anew: what of the training stays."""
    model, x, y = small(), floats(8, 6), floats(8, 2)
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)
    step, optimizer = model.train_function, hashes(model.optimizer.variables)
    plan = isoinit.keras.init(model, x, seed=1)
    told = {
        "step": model.train_function is step,
        "optimizer": hashes(model.optimizer.variables) == optimizer,
        "seed": plan.seed,
    }
    values = hashes(model.trainable_variables)
    expected = model(x)
    error = keras.ops.convert_to_numpy(expected) - y
    told["loss"] = [float(model.evaluate(x, y, verbose=0)), float(np.square(error).mean())]
    model.fit(x, y, verbose=0)
    told["trains"] = hashes(model.trainable_variables) != values
    return told


def unusual():
    """Layers alone, frozen layers, other types, made-up examples, overrides."""
    told = {}
    frozen = small()
    frozen.layers[0].trainable = False
    before = hashes(frozen.variables)
    told["frozen"] = list(isoinit.keras.init(frozen, floats(8, 6)).entries)
    after = hashes(frozen.variables)
    told["frozen changed"] = [path for path in after if after[path] != before[path]]
    brain = small(dtype="bfloat16")
    isoinit.keras.init(brain, seed=5)
    value = keras.ops.cast(brain.layers[0].kernel, "float32")
    told["bfloat16"] = keras.ops.convert_to_numpy(value).tolist()
    told["mixed"] = isoinit.keras.plan(small(dtype="mixed_bfloat16"))["small/one/kernel"].dtype
    layer = layers.Dense(3, name="alone")
    told["layer"] = list(isoinit.keras.plan(layer, floats(8, 6)).entries)
    given = {"role:bias": isoinit.Constant(0.5), "small/two/kernel": isoinit.Normal(std=0.1)}
    ones = small(bias_initializer="ones")
    plan = isoinit.keras.plan(ones, overrides=given, method="he")
    told["overridden"] = plan.warnings
    told["overrides"] = {entry.name: str(entry.initializer) for entry in plan}
    told["printed"] = str(plan)
    told["by method"] = isoinit.keras.plan(ones, method="he").warnings
    return told


class Subclassed(layers.Dense):
    """Takes the options of its base as they come, and one that Keras knows nothing of."""

    def __init__(self, units, scale_initializer="mine", **options):
        super().__init__(units, **options)
        self.scale_initializer = scale_initializer

    def build(self, shape):
        super().build(shape)
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")


def asked():
    """What layers ask for by options that are not their defaults, and what a plan makes of it."""
    noise, constant = keras.initializers.RandomUniform(), keras.initializers.Constant
    last = {"kernel_initializer": "zeros", "bias_initializer": constant(-4.5)}
    model = keras.Sequential(
        [
            keras.Input((3, 40)),
            layers.LSTM(4, unit_forget_bias=False, kernel_initializer=noise, name="shut"),
            layers.Dense(
                4,
                kernel_initializer=keras.initializers.GlorotUniform(seed=3),
                bias_initializer=constant(0.1),
                name="one",
            ),
            layers.LayerNormalization(name="norm"),
            layers.Dense(2, **last, name="last"),
        ],
        name="asks",
    )
    plan = isoinit.keras.init(model)
    plain = Subclassed(2, name="plain")
    named = Subclassed(2, "yours", kernel_initializer=noise, name="named")
    lstm = layers.LSTM(2, bias_initializer=constant(0.1), name="open")
    slopes = layers.PReLU(alpha_initializer=constant(0.25), name="slopes")
    found = {}
    for layer, x in ((plain, floats(1, 3)), (named, floats(1, 3)), (slopes, floats(1, 3)),
                     (lstm, floats(1, 2, 3))):  # fmt: skip
        layer(x)
        paths = {variable.path: variable for variable in layer.trainable_variables}
        found |= {path: (one.said, one.number) for path, one in declared(layer, paths).items()}
    return {
        "kept": plan.kept,
        "values": {v.path: array(v).tolist() for v in model.weights if v.path in plan.kept},
        "warnings": plan.warnings,
        "declared": found,
    }


class Two(keras.Model):
    def __init__(self):
        super().__init__(name="two")
        self.a, self.b = layers.Dense(4, name="same"), layers.Dense(4, name="same")

    def call(self, x):
        return self.b(self.a(x))


def frozen_whole():
    model = small()
    model.trainable = False
    return model


def wider():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5, name="one")], name="small")
    isoinit.keras.apply(isoinit.keras.plan(small()), model)


def half():
    isoinit.keras.apply(isoinit.keras.plan(small()), small(dtype="float16"))


def built_without_inputs():
    model = Einsums()
    model(floats(4, 6, 10))
    return isoinit.keras.plan(model)


BAD = {
    "not built": lambda: isoinit.keras.plan(Einsums()),
    "built without inputs": built_without_inputs,
    "cannot be built": lambda: isoinit.keras.plan(Einsums(), [floats(2, 3)]),
    "does not fit": lambda: isoinit.keras.plan(small(), floats(8, 7)),
    "no array": lambda: isoinit.keras.plan(small(), "text"),
    "empty": lambda: isoinit.keras.plan(small(), []),
    "no variables": lambda: isoinit.keras.plan(layers.ReLU(name="relu"), floats(2, 3)),
    "not trainable": lambda: isoinit.keras.plan(frozen_whole()),
    "same path": lambda: isoinit.keras.plan(Two(), floats(2, 4)),
    "no model": lambda: isoinit.keras.init("model"),
    "method": lambda: isoinit.keras.plan(small(), method="hee"),
    "override": lambda: isoinit.keras.plan(small(), overrides={"three": isoinit.Zeros()}),
    "no plan": lambda: isoinit.keras.apply({}, small()),
    "seed": lambda: isoinit.keras.init(small(), seed="1"),
    "another model": wider,
    "another type": half,
    "not built to apply": lambda: isoinit.keras.apply(isoinit.keras.plan(small()), Einsums()),
}


def errors():
    told = {}
    for case, fails in BAD.items():
        try:
            fails()
        except isoinit.errors.IsoinitError as error:
            told[case] = [type(error).__name__, str(error)]
    return told


def nothing_written():
    """An override that does not fit is found before the first variable is assigned."""
    model = small()
    plan = isoinit.keras.plan(model)
    before = hashes(model.variables)
    plan.entries["small/two/kernel"] = plan["small/one/bias"].called("small/two/kernel")
    try:
        isoinit.keras.apply(plan, model)
    except isoinit.errors.PlanError:
        return hashes(model.variables) == before
    return False


def refused():
    try:
        isoinit.keras.plan(small())
    except isoinit.errors.ArgumentError as error:
        return str(error)
    return ""


def door():
    """What the door of the backend's own models says of one of Keras."""
    try:
        if BACKEND == "torch":
            isoinit.plan(small())
        else:
            from isoinit import jax

            jax.plan(small(), floats(8, 6))
    except isoinit.errors.ArgumentError as error:
        return str(error)
    return ""


def whole(folder):
    other = "torch" if BACKEND == "jax" else "jax"
    done = (folder / f"mlp {other}.json").exists()
    return {
        "plans": plans(folder),
        "applied": applied(folder, other) if done else {},
        "training": training(),
        "unusual": unusual(),
        "asked": asked(),
        "errors": errors(),
        "nothing written": nothing_written(),
        "door": door(),
        "loaded": [name for name in ("jax", "torch", "tensorflow") if name in sys.modules],
    }


def unread(folder):
    """A backend that no reader has: plans of others are applied, none is made."""
    return {"applied": applied(folder, "torch", ["mlp", "lstm"]), "refused": refused()}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    run = unread if BACKEND == "numpy" else whole
    (folder / f"told by {BACKEND}.json").write_text(json.dumps(run(folder)))
