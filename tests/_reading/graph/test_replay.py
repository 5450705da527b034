"""Operations that are run again on arrays."""

import numpy as np
import pytest

from isoinit._reading.graph import Op, elementwise, run_ops

ROW = np.linspace(-2.0, 2.0, 8)
PARTS = (slice(4), slice(4, None))


def refuses(rows):
    raise ValueError("no row of numbers")


@pytest.mark.parametrize(
    ("function", "passes"),
    [
        (lambda rows: np.tanh(rows[0]), True),
        (lambda rows: rows[0] > 0, True),
        (lambda rows: np.where(rows[0] > 0, rows[0], np.nan), True),
        (lambda rows: np.cumsum(rows[0]), False),
        (lambda rows: rows[0] - rows[0].mean(), False),
        (lambda rows: rows[0].sum(), False),
        (lambda rows: rows[0][:, None], False),
        (lambda rows: np.concatenate([rows[0], rows[0]]), False),
        (refuses, False),
    ],
)
def test_what_is_elementwise(function, passes):
    found = elementwise(function, [ROW], PARTS, rtol=0, atol=0)
    assert (found is not None) == passes
    if passes:
        np.testing.assert_array_equal(found, function([ROW]))


def test_the_first_part_alone_does_not_show_a_cumulative_sum():
    def function(rows):
        return np.cumsum(rows[0])

    assert elementwise(function, [ROW], PARTS[:1], rtol=0, atol=0) is not None
    assert elementwise(function, [ROW], PARTS, rtol=0, atol=0) is None


def test_results_are_kept_by_the_number_of_their_value():
    double = Op(0, "mul", "other", (0,), (1,), replay=lambda rows: 2 * rows[0])
    moved = Op(1, "view", "move", (1,), (2,))
    total = Op(2, "add", "other", (2, 0), (3,), replay=lambda rows: rows[0] + rows[1])
    found = run_ops([double, moved, total], {0: ROW})
    np.testing.assert_array_equal(found[3], 3 * ROW)
    assert found[2] is found[1]
