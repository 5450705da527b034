"""Operations that are run again on arrays."""

import numpy as np
import pytest

from isoinit._reading.graph import Detail, Op, ReplayError, elementwise, run_ops

ROW = np.linspace(-2.0, 2.0, 96)


def played(function):
    return lambda rows: [function(*rows)]


def softmax(x, axis):
    weights = np.exp(x - x.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


ELEMENTWISE = [
    np.tanh,
    lambda x: x > 0,
    lambda x: np.where(x > 0, x, np.nan),
    lambda x: np.floor(x).astype(np.int64),
    np.zeros_like,
]
MIXING = [
    np.sort,
    lambda x: x[::-1],
    lambda x: x - x.mean(),
    lambda x: x * np.tanh(np.maximum(x, 0).mean()),
    lambda x: x.sum(),
    lambda x: np.concatenate([x, x]),
    lambda x: x + np.random.default_rng().normal(size=x.shape),
    *[lambda x, a=a: np.cumsum(x, a) for a in range(3)],
    *[lambda x, a=a: softmax(x, a) for a in range(3)],
]


@pytest.mark.parametrize("function", ELEMENTWISE)
def test_what_is_elementwise(function):
    found = elementwise(lambda rows: function(rows[0]), [ROW], rtol=0, atol=0)
    np.testing.assert_array_equal(found, function(ROW))


@pytest.mark.parametrize("function", MIXING)
def test_what_mixes_elements_along_any_axis(function):
    op = Op(0, "it", "other", (0,), (1,), replay=played(function), rank=3)
    with pytest.raises(ReplayError):
        elementwise(lambda rows: run_ops([op], {0: rows[0]})[1], [ROW], rtol=1e-9, atol=1e-12)


def test_attention_among_large_elements_is_seen_too():
    def attention(x):  # nearly the identity where every token attends to itself alone
        return softmax(x @ x.swapaxes(-1, -2), -1) @ x

    op = Op(0, "attention", "other", (0,), (1,), replay=played(attention), rank=3)
    with pytest.raises(ReplayError, match="single elements"):
        elementwise(lambda rows: run_ops([op], {0: rows[0]})[1], [9 * ROW], rtol=1e-6, atol=1e-9)


def test_results_are_kept_by_the_number_of_their_value():
    double = Op(0, "mul", "other", (0,), (1,), replay=played(lambda x: 2 * x))
    moved = Op(1, "view", "move", (1,), (2,))
    total = Op(2, "add", "other", (2, 0), (3,), replay=played(lambda x, y: x + y))
    found = run_ops([double, moved, total], {0: ROW})
    np.testing.assert_array_equal(found[3], 3 * ROW)
    np.testing.assert_array_equal(found[2], found[1])


def test_an_operation_sees_as_many_axes_as_it_did():
    seen = []

    def look(x):
        seen.append(x.shape)
        return x

    ops = [Op(i, "look", "other", (i,), (i + 1,), replay=played(look), rank=i) for i in range(6)]
    found = run_ops(ops, {0: ROW})
    assert [len(shape) for shape in seen] == [1, 1, 2, 3, 4, 5]
    assert all(size > 1 for shape in seen for size in shape)
    np.testing.assert_array_equal(found[6], ROW)


def test_a_stack_of_rows_is_reduced_and_not_rearranged():
    both = played(lambda x, y: np.stack([x, -y]))
    stack = Op(0, "stack", "other", (0, 0), (1,), replay=both, rank=2)
    kept = Op(1, "to", "move", (1,), (2,), detail=Detail(axes=((0,), (1,), (2,))))
    largest = Op(2, "amax", "other", (2,), (3,), replay=played(lambda x: x.max(0)), rank=3)
    found = run_ops([stack, kept, largest], {0: ROW})
    np.testing.assert_array_equal(found[3].ravel(), abs(ROW))
    turned = Op(1, "view", "move", (1,), (2,), detail=Detail(axes=((1,), (0,), (2,))))
    with pytest.raises(ReplayError, match="view rearranges"):
        run_ops([stack, turned, largest], {0: ROW})


def test_what_cannot_be_replayed_says_why():
    op = Op(0, "nonzero", "other", (0,), (1,), unplayed="reads a constant tensor")
    with pytest.raises(ReplayError, match="nonzero reads a constant tensor"):
        run_ops([op], {0: ROW})


def test_all_pairs_are_refused_before_there_are_many():
    sizes = []

    def pairs(rows):
        sizes.append(rows[0].size)
        return np.outer(rows[0], rows[0])

    with pytest.raises(ReplayError, match="no function of single elements"):
        elementwise(pairs, [np.arange(4096.0)], rtol=1e-6, atol=1e-9)
    assert max(sizes) < 1000
