"""Plans of Keras models, as each backend's reader makes them: roles, fans, values."""

import numpy as np
import pytest
import torch
from torch import nn

import isoinit

# Alike to the last bit. In the others a scale follows from other samples of the same signal.
ALIKE = (
    *("mlp", "cnn", "separable", "transformer", "grouped", "einsums", "mixture"),
    *("lstm", "gru", "stacked"),
)
NAMES = (*ALIKE, "unet", "bidirectional")
BACKENDS = ("torch", "jax")


@pytest.fixture(scope="session")
def plans(both, folder):
    return {
        (name, backend): isoinit.Plan.load(folder / f"{name} {backend}.json")
        for name in NAMES
        for backend in BACKENDS
    }


@pytest.fixture(scope="session")
def values(both, folder):
    found = {}
    for name in NAMES:
        for backend in BACKENDS:
            with np.load(folder / f"{name} {backend}.npz") as arrays:
                found[name, backend] = dict(arrays)
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_variable_has_a_role_and_an_initializer(plans, values, name, backend):
    plan = plans[name, backend]
    assert set(plan.entries) == set(values[name, backend])
    assert [entry.name for entry in plan if "unknown" in entry.role] == []
    assert [entry.name for entry in plan if entry.initializer is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_has_one_layout_and_kind_of_initializer_under_both(plans, name):
    one, other = (plans[name, backend] for backend in BACKENDS)
    assert list(one.entries) == list(other.entries)
    for entry in one:
        twin = other[entry.name]
        assert (entry.layout, entry.dtype) == (twin.layout, twin.dtype)
        assert type(entry.initializer) is type(twin.initializer)
        assert entry.std == pytest.approx(twin.std, rel=0.005)


@pytest.mark.parametrize("name", ALIKE)
def test_both_give_the_same_bits(plans, values, name):
    one, other = (plans[name, backend] for backend in BACKENDS)
    for entry in one:
        assert (entry.role, entry.initializer) == (
            other[entry.name].role,
            other[entry.name].initializer,
        )
    one, other = (values[name, backend] for backend in BACKENDS)
    assert [path for path in one if one[path].tobytes() != other[path].tobytes()] == []


FANS = {
    ("mlp", "mlp/first/kernel"): (40, 64),
    ("cnn", "conv2/kernel"): (3 * 3 * 16, 3 * 3 * 16),
    ("cnn", "conv3/kernel"): (3 * 3 * 16, 3 * 3 * 32 / 4),  # strides of two along two axes
    ("separable", "separable/depthwise_kernel"): (3 * 3, 3 * 3 * 2),
    ("separable", "separable/pointwise_kernel"): (8, 16),
    ("separable", "grouped/kernel"): (3 * 3 * 32 / 4, 3 * 3 * 16 / 4),
    ("unet", "up/kernel"): (16 * 2 * 2 / 4, 8 * 2 * 2),
    ("transformer", "attention0/query/kernel"): (32, 4 * 8),
    ("transformer", "attention0/attention_output/kernel"): (4 * 8, 32),
    ("grouped", "attention/key/kernel"): (32, 2 * 8),
    ("einsums", "einsums/block0/up/kernel"): (24, 4 * 24),
    ("einsums", "einsums/block0/down/kernel"): (4 * 24, 24),
    ("mixture", "experts/up"): (32 + 32, 4 * 48),  # all experts read one input
    ("mixture", "experts/down"): (48, 32 + 32),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "path"), FANS)
def test_fans_are_those_that_a_hand_counts(plans, name, path, backend):
    layout = plans[name, backend][path].layout
    assert (layout.fan_in, layout.fan_out) == FANS[name, path]


@pytest.mark.parametrize("backend", BACKENDS)
def test_queries_keys_and_values_keep_the_unit_size_of_a_norm(plans, backend):
    for kind in ("query", "key", "value"):
        entry = plans["transformer", backend][f"attention1/{kind}/kernel"]
        assert entry.std == pytest.approx(32**-0.5)


RECURRENT = {
    ("lstm", "lower/lstm_cell"): (24, 4),
    ("lstm", "upper/lstm_cell"): (20, 4),
    ("gru", "lower/gru_cell"): (24, 3),
    ("gru", "upper/gru_cell"): (20, 3),
    ("stacked", "stack/cells/lower"): (24, 4),
    ("stacked", "stack/cells/upper"): (20, 3),
    ("bidirectional", "two/forward_lstm/lstm_cell"): (12, 4),
    ("bidirectional", "two/backward_lstm/lstm_cell"): (12, 4),
    ("bidirectional", "simple/simple_rnn_cell"): (7, 1),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "cell"), RECURRENT)
def test_recurrent_kernels_are_orthogonal_gate_by_gate(values, name, cell, backend):
    units, gates = RECURRENT[name, cell]
    kernel = values[name, backend][f"{cell}/recurrent_kernel"].reshape(units, gates, units)
    for gate in range(gates):
        np.testing.assert_allclose(
            kernel[:, gate] @ kernel[:, gate].T, np.eye(units), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "cell"), RECURRENT)
def test_the_forget_gate_starts_open_and_other_biases_at_zero(values, name, cell, backend):
    """Keras has the gates of an LSTM in the order input, forget, cell, output."""
    units, gates = RECURRENT[name, cell]
    bias = values[name, backend][f"{cell}/bias"]
    expected = np.zeros(bias.shape)
    if gates == 4:
        expected[units : 2 * units] = 1
    np.testing.assert_array_equal(bias, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_variables_that_are_read_with_operators_of_python(plans, backend):
    plan = plans["stacked", backend]
    assert plan["places/places"].role == "position"
    assert plan["places/turn"].role.startswith("weight")
    assert plan["places/turn"].layout.fan_in == 16


@pytest.mark.parametrize("backend", BACKENDS)
def test_norm_layers_start_neutral_but_for_one_that_ends_a_branch(values, backend):
    found = values["cnn", backend]
    assert (found["norm1/gamma"] == 1).all()
    assert (found["norm2/gamma"] == 0).all()
    assert (found["norm1/beta"] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_follows_a_branch_of_zero_is_scaled_for_its_skip_alone(plans, backend):
    """The skip is behind ReLU: half of unit size, which a gain of sqrt(2) restores."""
    entry = plans["cnn", backend]["conv3/kernel"]
    assert entry.std == pytest.approx((2 / (3 * 3 * 16)) ** 0.5, rel=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_twin_in_torch_gets_the_same(plans, backend):
    twin = nn.Sequential(
        *(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 64), nn.GELU(), nn.Dropout(0.1)),
        nn.Linear(64, 5),
    )
    theirs = isoinit.plan(twin, torch.randn(256, 40), keep="nothing")
    ours = plans["mlp", backend]
    for layer, place in {"first": 0, "second": 2, "last": 5}.items():
        for path, name in (("kernel", "weight"), ("bias", "bias")):
            one, other = ours[f"mlp/{layer}/{path}"], theirs[f"{place}.{name}"]
            assert (one.role, type(one.initializer)) == (other.role, type(other.initializer))
            assert one.std == pytest.approx(other.std, rel=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["mlp", "transformer"])
def test_layers_give_what_the_plan_expects(both, name, backend):
    sizes = both[backend]["plans"][name]["sizes"]
    assert sizes
    for found, expected in sizes.values():
        assert found == pytest.approx(expected, rel=0.2)
