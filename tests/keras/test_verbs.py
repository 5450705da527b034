"""`isoinit.keras.plan`, `apply` and `init`, under each backend of Keras."""

import re
import subprocess
import sys

import numpy as np
import pytest

BACKENDS = ("torch", "jax")
BAD = {
    "not built": ("ArgumentError", "not built.*Pass x"),
    "built without inputs": ("ArgumentError", "declares no inputs.*Pass x"),
    "cannot be built": ("TraceError", r"model\(x\) failed.*no value was changed"),
    "does not fit": ("TraceError", r"model\(x\) failed.*\(8, 7\).*no value was changed"),
    "no array": ("ArgumentError", "x cannot be converted to tensors"),
    "empty": ("ArgumentError", "x holds no arrays"),
    "no variables": ("ArgumentError", "'relu' has no trainable variables"),
    "not trainable": ("ArgumentError", "no trainable variables.*trainable = True"),
    "same path": ("ArgumentError", "two variables have the path 'two/same/kernel'.*names"),
    "no model": ("ArgumentError", "expected a model or a layer of Keras"),
    "method": ("ArgumentError", "method='hee'"),
    "override": ("UnknownParameterError", "no parameter is called 'three'"),
    "no plan": ("ArgumentError", "plan is a dict"),
    "seed": ("ArgumentError", "seed='1' is a str; expected an integer"),
    "another model": ("PlanError", "no variable was changed.*another model"),
    "another type": ("PlanError", "no variable was changed.*float16"),
    "not built to apply": ("ArgumentError", "not built"),
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_plan_changes_nothing_and_state_is_never_assigned(both, backend):
    """State: moving statistics, which start at zero and one, and the states of seeds."""
    for name, told in both[backend]["plans"].items():
        assert (name, told["unchanged"], told["state kept"]) == (name, True, True)
    state = both[backend]["plans"]["cnn"]["state"]
    assert state == [f"norm{n}/moving_{what}" for n in (1, 2) for what in ("mean", "variance")]
    assert len(both[backend]["plans"]["lstm"]["state"]) == 2


def test_one_plan_gives_the_same_bits_under_every_backend(jax_told, numpy_told):
    """Plans made under PyTorch, applied by path in another process: the variables that differ."""
    assert len(jax_told["applied"]) == 12
    assert [path for paths in jax_told["applied"].values() for path in paths] == []
    assert numpy_told["applied"] == {"mlp": [], "lstm": []}


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_goes_on_with_what_was_compiled(both, backend):
    told = both[backend]["training"]
    assert told["step"]
    assert told["optimizer"]
    assert told["trains"]
    assert told["seed"] == 1
    assert told["loss"][0] == pytest.approx(told["loss"][1], rel=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_frozen_layers_other_types_overrides(both, backend):
    told = both[backend]["unusual"]
    assert told["frozen"] == ["small/two/kernel", "small/two/bias"]
    assert told["frozen changed"] == ["small/two/kernel"]  # its bias was zero before
    assert told["mixed"] == "float32"
    assert told["layer"] == ["alone/kernel", "alone/bias"]
    assert told["overrides"]["small/one/bias"] == "Constant(val=0.5)"
    assert told["overrides"]["small/two/kernel"] == "Normal(std=0.1)"
    assert told["overrides"]["small/one/kernel"].startswith("HeNormal")
    assert "small/two/kernel" in told["printed"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_that_layers_ask_for_are_kept_and_the_rest_is_said(both, backend):
    told = both[backend]["asked"]
    assert told["kept"] == {
        "asks/shut/lstm_cell/bias": "kept: its layer has unit_forget_bias=False",
        "asks/one/bias": "kept: its constructor gives it 0.1 in every element",
        "asks/last/kernel": "kept: its constructor gives it 0.0 in every element",
        "asks/last/bias": "kept: its constructor gives it −4.5 in every element",
    }
    values = told["values"]
    assert values["asks/shut/lstm_cell/bias"] == [0.0] * 16
    assert values["asks/one/bias"] == pytest.approx([0.1] * 4)
    assert values["asks/last/bias"] == [-4.5] * 2
    said = [w for w in told["warnings"] if "initializers of layers" in w]
    assert len(said) == 1
    assert "kernel_initializer=RandomUniform of 'asks/shut/lstm_cell/kernel'. To use one" in said[0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_options_at_their_class_defaults_ask_for_nothing(both, backend):
    """Another seed is no other initializer, and a number for all but the forget gate is not one."""
    assert both[backend]["asked"]["declared"] == {
        "named/kernel": ["kernel_initializer=RandomUniform", None],
        "named/scale": ["scale_initializer=yours", None],
        "slopes/alpha": ["alpha_initializer=Constant(0.25)", 0.25],
        "open/lstm_cell/bias": ["bias_initializer=Constant(0.1)", None],
    }
    told = both[backend]["unusual"]
    assert told["overridden"] == []
    assert "bias_initializer=Constant(1) of 'small/one/bias'. To" in told["by method"][0]


def test_values_in_bfloat16_are_those_of_fill(both):
    """Under both backends, and as torch's own door draws them for that name and layout."""
    torch = pytest.importorskip("torch")
    found = both["torch"]["unusual"]["bfloat16"]
    assert found == both["jax"]["unusual"]["bfloat16"]
    kernel = torch.tensor(found)
    assert torch.equal(kernel.bfloat16().float(), kernel)
    rows = kernel / kernel.norm(dim=0)
    np.testing.assert_allclose(rows.T @ rows, np.eye(4), rtol=0, atol=0.02)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_what_to_do(both, case, backend):
    kind, message = BAD[case]
    found, said = both[backend]["errors"][case]
    assert found == kind
    assert re.search(message, said), said


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_does_not_fit_is_found_before_the_first_variable_is_assigned(both, backend):
    assert both[backend]["nothing written"]


def test_a_backend_without_a_reader_is_refused(numpy_told):
    """As TensorFlow is: by the name of the backend alone."""
    assert "'numpy' backend" in numpy_told["refused"]
    assert "KERAS_BACKEND=torch or KERAS_BACKEND=jax" in numpy_told["refused"]


def test_the_jax_backend_needs_no_torch(jax_told):
    assert jax_told["loaded"] == ["jax"]


def test_importing_the_door_loads_no_framework():
    code = (
        "import isoinit.keras, sys; "
        "print(*[m for m in ('torch', 'jax', 'keras', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "", done.stderr


def test_the_errors_of_other_doors_lead_here(both):
    assert "call isoinit.keras.plan" in both["torch"]["door"]
    assert "is a Keras model. Use isoinit.keras instead" in both["jax"]["door"]
