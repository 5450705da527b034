"""What differs in numbers alone is one row, under a heading said once."""

import math

import pytest

from isoinit._showing.folding import bounds, headed, kinds, ranged, short, together
from isoinit._showing.sparkline import sparkline


def named(names, like=lambda name: None):
    return [(kind.name, len(kind.items)) for kind in kinds(names, str, like)]


def test_kinds_differ_in_words_or_in_what_they_are_like():
    assert named(["h.0.a", "h.0.b", "h.1.a"]) == [("h.0…1.a", 2), ("h.0.b", 1)]
    assert named(["0", "2", "4"], like=lambda name: name == "4") == [("0…2", 2), ("4", 1)]


def test_ranges_are_of_numbers_in_any_order():
    assert together(["h.10.w", "h.9.w", "h.2.w"]) == "h.2…10.w"
    assert together(["layer1.0.conv", "layer2.0.conv"]) == "layer1…2.0.conv"


def test_a_heading_says_a_beginning_once():
    rows = [("a.0…3.q", 4, ("1",)), ("a.0…3.ln_1…2", 8, ("2",)), ("b.0…3.q", 4, ("3",))]
    assert headed(rows) == [
        ("a.0…3. (4)", ""),
        ("  q", "1"),
        ("  ln_1…2 (8)", "2"),
        ("b.0…3.q (4)", "3"),  # alone: nothing is said twice
    ]


def test_plain_names_have_no_heading():
    assert headed([("encoder.a", 1, ("1",)), ("encoder.b", 1, ("2",))]) == [
        ("encoder.a", "1"),
        ("encoder.b", "2"),
    ]


@pytest.mark.parametrize("number", [0.0, 1.0, 0.996, 99.6, 1234.0, -3.2e-12, 8.13e30, math.inf])
def test_short_numbers_are_near(number):
    text = short(number)
    assert len(text) <= 8
    assert float(text) == pytest.approx(number, rel=0.05)


def test_the_middle_is_the_median():
    assert ranged([9.0, 1.0, 2.0, None, math.nan], middle=True) == "1.0 2.0 9.0"
    assert ranged([9.0, 1.0, 2.0], middle=False) == "1.0…9.0"
    assert ranged([1.0, 1.001], middle=True) == "1.0"
    assert ranged([None, math.nan], middle=True) == ""


def test_bars_of_one_kind_are_flat_unless_it_changes():
    def drawn(values):
        low, high = bounds(values)
        return sparkline(values, 8, low=low, high=high)

    assert len(set(drawn([1.0, 1.1, 0.92, 1.05]))) == 1
    assert drawn([10.0**-k for k in range(8)]) == "█▇▆▅▄▃▂▁"
    assert drawn([0.0, 1.0, None, math.nan]) == "_▄ !"
    assert len(set(drawn([1e-300, 1e300]))) == 2
