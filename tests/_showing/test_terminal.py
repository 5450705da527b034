"""A REPL shows text as `print` does, and numbers are told roughly."""

import pytest

from isoinit._showing.terminal import Printed, Tabled, counted, rough


class Two(Tabled):
    def show(self):
        return Printed("one\ntwo")


def test_print_a_repl_and_ipython_show_the_same():
    assert repr(Two().show()) == str(Two()) == "one\ntwo"
    written = []
    Two()._repr_pretty_(type("Printer", (), {"text": written.append}), False)
    assert written == ["one\ntwo"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (9_999, "9,999"), (12_345, "12.3 k"), (999_949, "1000 k"), (25_557_032, "25.6 M"),
     (7_241_732_096, "7.24 B"), (10**12, "1.00 T")],
)  # fmt: skip
def test_rough_numbers_have_three_digits(number, text):
    assert rough(number) == text


def test_counted():
    assert [counted(n, "error") for n in (0, 1, 2)] == ["0 errors", "1 error", "2 errors"]
