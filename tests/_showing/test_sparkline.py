import math

from hypothesis import given
from hypothesis import strategies as st

from isoinit._showing.sparkline import BARS, sparkline

numbers = st.none() | st.floats(allow_nan=True, allow_infinity=True)


def test_heights():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8, log=False) == BARS
    assert sparkline([10.0**k for k in range(8)], 8) == BARS
    assert sparkline([7, 0], 8, log=False) == "█▁"


def test_a_shared_scale():
    assert sparkline([1.0], 8, low=1e-4, high=1) == "█"
    assert sparkline([1e-4], 8, low=1e-4, high=1) == "▁"
    assert sparkline([1e-9, 1e9], 8, low=1e-4, high=1) == "▁█"


def test_noise_is_flat():
    assert sparkline([1.0, 1.1, 0.9, 1.2], 8) == "▄▄▄▄"


def test_twelve_decades_are_enough():
    """A network that died at 1e-300 leaves room for the others to differ."""
    assert sparkline([1e-300, 1e-6, 1.0], 8) == "▁▅█"


def test_the_ends_are_shown():
    line = sparkline([1.0, *[1e3] * 98, 1e6], 7)
    assert (len(line), line[0], line[-1]) == (7, "▁", "█")


def test_no_values():
    assert sparkline([], 8) == ""


@given(st.lists(numbers, max_size=40), st.integers(1, 12), st.booleans())
def test_any_numbers(values, width, log):
    line = sparkline(values, width, log=log)
    assert len(line) == min(len(values), width)
    assert set(line) <= set(BARS + " _!")
    if len(values) <= width:
        for value, bar in zip(values, line, strict=True):
            assert (bar == " ") == (value is None)
            assert (bar == "!") == (value is not None and not math.isfinite(value))
