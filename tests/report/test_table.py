"""Tables fold what repeats, and show names as they are."""

import pytest

from isoinit.report.table import fold, render


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.weight"], ["a.weight"]),
        (["h.0.w", "h.1.w", "h.2.w"], ["h.0…2.w (3)"]),
        (["h.0.w", "g", "h.1.w"], ["h.0…1.w (2)", "g"]),
        (["h.0.a1", "h.1.a1"], ["h.0…1.a1 (2)"]),
    ],
)
def test_fold(names, expected):
    assert [row[0] for row in fold([(name, "same") for name in names])] == expected


def test_rows_that_differ_elsewhere_stay_apart():
    assert fold([("h.0", "x"), ("h.1", "y")]) == [("h.0", "x"), ("h.1", "y")]


def test_markup_in_a_name_is_shown_and_not_obeyed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = render("title [red]", ("name",), [("[bold]w[/bold]",)], ["note [0]"], ["careful [/]"])
    for shown in ("title [red]", "[bold]w[/bold]", "note [0]", "careful [/]"):
        assert shown in text
    assert "\x1b" not in text
