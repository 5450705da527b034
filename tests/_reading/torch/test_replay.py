"""Recorded calls, made once more."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from isoinit._reading.graph import ReplayError
from isoinit._reading.torch.calls import is_pointwise
from isoinit._reading.torch.replay import Recorded, composed, replay_of

X, Y = torch.randn(3), torch.randn(3)
ROW = np.linspace(-2.0, 2.0, 8)


def number_of(tensor):
    return {id(X): 5, id(Y): 7}.get(id(tensor))


def played(function, *args, **kwargs):
    return replay_of(Recorded(function, args, kwargs), number_of)


def replay(function, *args, **kwargs):
    again = played(function, *args, **kwargs).replay
    return lambda rows: again(rows)[0]


def test_arrays_stand_for_the_inputs_in_order():
    found = replay(torch.add, Y, X, alpha=2)
    np.testing.assert_allclose(found([ROW, 3 * ROW]), 7 * ROW)
    twice = replay(torch.mul, X, X)
    np.testing.assert_allclose(twice([ROW]), ROW**2)
    listed = replay(torch.cat, [X, Y])
    np.testing.assert_allclose(listed([ROW, -ROW]), np.concatenate([ROW, -ROW]))


def test_an_input_that_is_given_twice():
    call = Recorded(torch.addcmul, (X, X, Y), {})
    found = replay_of(call, number_of, inputs=(5, 5, 7)).replay([ROW, ROW, 3 + ROW])
    np.testing.assert_allclose(found[0], ROW + ROW * (3 + ROW))


@pytest.mark.parametrize(
    "constant", [torch.tensor(3.0), torch.full((3,), 3.0), torch.full((4, 3), 3), torch.ones(3) * 3]
)
def test_constant_tensors_of_one_value_are_that_number(constant):
    found = replay(torch.mul, X, constant)
    np.testing.assert_allclose(found([ROW]), 3 * ROW)


def test_a_constant_as_large_as_an_input_stays_as_large():
    found = replay(torch.stack, [X, torch.zeros(3)])
    np.testing.assert_array_equal(found([ROW]), np.stack([ROW, 0 * ROW]))


def test_constant_tensors_of_several_values_take_part_by_samples_of_them():
    table = torch.tensor([1.0, 2.0, 4.0])
    found = played(torch.mul, X, table)
    assert found.replay is None
    assert found.reason == "reads a constant tensor of several values"
    np.testing.assert_array_equal(found.mixed.rows[0], table.numpy())
    np.testing.assert_allclose(found.mixed.replay([ROW, ROW])[0], ROW**2)


def test_unknown_constants_are_the_reason_of_no_replay():
    found = played(torch.mul, X, torch.ones(1, device="meta"))
    assert found.replay is None
    assert "values are not known" in found.reason


def test_booleans_and_integers_keep_their_type_and_an_array_is_left_as_it_was():
    row = ROW.copy()
    found = replay(F.relu, X, inplace=True)
    np.testing.assert_allclose(found([row]), np.maximum(ROW, 0))
    np.testing.assert_array_equal(row, ROW)
    assert replay(torch.gt, X, 0)([ROW]).dtype == np.bool_
    assert replay(torch.argmax, X)([ROW]).dtype == np.int64
    assert replay(torch.Tensor.to, X, torch.float16)([ROW > 0]).dtype == np.float64


def test_several_outputs():
    found = replay_of(Recorded(torch.max, (X, 0), {}), number_of, made=[X, X]).replay([ROW])
    assert [float(array) for array in found] == [2.0, len(ROW) - 1]


@pytest.mark.parametrize(
    "write", [(torch.Tensor.__setitem__, lambda m: m), (torch.Tensor.index_put_, lambda m: (m,))]
)
def test_a_masked_write_goes_where_the_mask_is(write):
    function, index = write
    mask = torch.ones(3, dtype=torch.bool)
    numbers = {id(X): 0, id(Y): 1, id(mask): 2}
    rows = [ROW, -3 * ROW, ROW < 0]
    for value, written in ((Y, -3 * ROW), (torch.tensor(5.0), 5 + 0 * ROW)):
        call = Recorded(function, (X, index(mask), value), {})
        found = replay_of(call, lambda t: numbers.get(id(t)), inputs=(0, 1, 2)).replay(rows)
        np.testing.assert_array_equal(found[0], np.where(ROW < 0, written, ROW))


def test_what_torch_refuses_and_what_draws_is_said():
    state = torch.get_rng_state()
    with pytest.raises(ReplayError, match="out of range"):
        replay(torch.cumsum, X, 3)([ROW])
    with pytest.raises(ReplayError, match="draws random numbers"):
        replay(torch.bernoulli, X)([0 * ROW])
    assert torch.equal(state, torch.get_rng_state())


def test_a_call_with_other_tensors():
    call = Recorded(torch.add, (X, Y), {"alpha": 2})
    made = call.again(lambda leaf: torch.zeros_like(leaf) if leaf is X else leaf)
    assert torch.equal(made, 2 * Y)


def test_functions_of_parameters_are_composed_while_they_are_elementwise():
    negative = composed(None, played(torch.neg, X).replay)
    both = composed(negative, played(torch.exp, X).replay)
    np.testing.assert_allclose(both(ROW), np.exp(-ROW))
    assert composed(both, played(torch.softmax, X, 0).replay) is None
    assert composed(both, None) is None


POINTWISE = [torch.add, torch.Tensor.mul, torch.Tensor.__sub__, F.silu, F.relu, torch.pow]
OTHERS = [torch.softmax, torch.cumsum, torch.Tensor.max, torch.matmul, torch.rand_like, F.dropout]


@pytest.mark.parametrize("function", POINTWISE)
def test_torch_says_what_is_a_function_of_single_elements(function):
    assert is_pointwise(function)


@pytest.mark.parametrize("function", OTHERS)
def test_what_torch_does_not_say_so_of_is_tried(function):
    assert not is_pointwise(function)


def test_a_function_of_that_name_that_is_not_torchs_is_tried():
    def silu(x):
        return x.cumsum(0)

    assert not is_pointwise(silu)


@pytest.mark.parametrize("name", ["exp_", "relu_"])
def test_what_works_in_place_leaves_the_arrays_as_they_are(name):
    given = np.linspace(-1, 1, 1000)
    before = given.copy()
    function = getattr(torch.Tensor, name)
    played = replay_of(Recorded(function, (torch.empty(4),), {}), lambda _: 0)
    (made,) = played.replay([given])
    np.testing.assert_array_equal(given, before)
    np.testing.assert_allclose(made, np.exp(before) if name == "exp_" else np.maximum(before, 0))


def test_arrays_that_are_read_only_or_lie_otherwise_are_copied():
    played = replay_of(Recorded(torch.mul, (torch.empty(4), 2.0), {}), lambda _: 0)
    given = np.linspace(-1, 1, 2000)
    given.setflags(write=False)
    np.testing.assert_array_equal(played.replay([given])[0], 2 * given)
    np.testing.assert_array_equal(played.replay([given[::-2]])[0], 2 * given[::-2])


def test_what_gives_its_argument_itself_gives_a_new_array():
    played = replay_of(Recorded(torch.positive, (torch.empty(4),), {}), lambda _: 0)
    given = np.linspace(-1, 1, 1000)
    (made,) = played.replay([given])
    assert not np.shares_memory(made, given)
