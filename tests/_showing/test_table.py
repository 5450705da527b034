"""Tables fold what repeats, and show names as they are."""

import pytest

from isoinit._showing.table import fold, render


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


COLUMNS = ("parameter", "shape", "role")
ROWS = [("encoder.layers.0.weight", "64×32", "weight before relu"), ("bias", "64", "bias")]


def test_a_table_that_fits_has_one_line_a_row(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert render("title", COLUMNS, ROWS, ["note"]).splitlines() == [
        "title",
        "",
        " parameter                shape  role",
        " ──────────────────────────────────────────────────",
        " encoder.layers.0.weight  64×32  weight before relu",
        " bias                     64     bias",
        "",
        " note",
    ]


def test_names_get_a_line_of_their_own_where_it_does_not(monkeypatch):
    monkeypatch.setenv("COLUMNS", "27")
    assert render("title", COLUMNS, ROWS).splitlines() == [
        "title",
        "",
        " parameter",
        "   shape  role",
        " ──────────────────────────",
        " encoder.layers.0.weight",
        "   64×32  weight before",
        "          relu",
        " bias",
        "   64     bias",
    ]


def test_a_name_longer_than_a_line_breaks_after_dots(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    lines = render("title", COLUMNS, ROWS).splitlines()
    assert lines[lines.index(" encoder.layers.0.") + 1] == " weight"


@pytest.mark.parametrize("width", [12, 20, 33, 80, 200])
def test_nothing_is_cut_off(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    rows = [*ROWS, ("a" * 50, "1×" * 20, f"{'b' * 90} and words"), ("empty", "", "")]
    lines = render("title", COLUMNS, rows, ["a note of words"], ["a warning of words"]).splitlines()
    assert max(map(len, lines)) <= width
    shown = "".join("".join(lines).split())
    assert shown.count("a" * 50) == 1
    for letters in ("1", "×", "b"):
        found = sum(line.count(letters) for line in lines)
        assert found >= sum("".join(row).count(letters) for row in rows)
    assert "…" not in shown


def test_a_table_without_rows(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert "parameter" in render("title", COLUMNS, [])


@pytest.fixture
def terminal(monkeypatch):
    """Output as a terminal gets it, though it is kept."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_verdicts_in_colour(terminal):
    text = render(
        "unhealthy: x", ("layer",), [("failed_layer",)], warnings=["error: y", "warning: z"]
    )
    assert "\x1b[1;31munhealthy" in text
    assert "\x1b[31merror:" in text
    assert "\x1b[33mwarning:" in text
    assert "failed_layer" in text  # a part of a name is no verdict
    assert "\x1b[1;32mhealthy" in render("healthy: x", ("layer",), [])


def test_no_colour_where_none_is_wanted(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = render("unhealthy: x", ("layer",), [("a",)], warnings=["error: y"])
    assert not any(f"\x1b[{style}m" in text for style in ("1;31", "31", "33"))
