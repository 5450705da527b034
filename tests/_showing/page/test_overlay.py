from isoinit._showing.page import Chart, Curve, Page, Table, alike, definitions, overlaid


def page(stds, groups=("measured",), extra=()):
    """A page of layers with these standard deviations."""
    names = list(stds)
    curves = [Curve("layers", list(stds.values()), at=range(len(names)), group=g) for g in groups]
    rows = [(name, std, f"because of {std}") for name, std in stds.items()]
    return Page(
        "A",
        "healthy",
        facts=[("layers", str(len(names))), *extra],
        charts=[Chart("Signal", "layer", "rms", curves, names)],
        tables=[
            Table("Layers", ("layer", "std", "why"), rows, details=("why",), compared=("std",))
        ],
    )


def test_both_are_drawn_on_one_chart_over_all_names():
    found = overlaid(page({"a": 1.0, "b": 2.0}), page({"b": 3.0, "c": 4.0}))
    (chart,) = found.charts
    before, after = chart.curves
    assert (before.group, after.group) == ("before", "after")
    assert {chart.names[i]: v for i, v in zip(before.at, before.values, strict=True)} == {
        "a": 1,
        "b": 2,
    }
    assert {chart.names[i]: v for i, v in zip(after.at, after.values, strict=True)} == {
        "b": 3,
        "c": 4,
    }


def test_of_several_curves_the_last_is_compared():
    groups = ("expected", "measured")
    (chart,) = overlaid(page({"a": 1.0}, groups), page({"a": 2.0}, groups)).charts
    assert [(curve.group, curve.values) for curve in chart.curves] == [
        ("before", [1.0]),
        ("after", [2.0]),
    ]


def test_changed_rows_come_first_with_both_values():
    one = page({"a": 1.0, "b": 2.0, "gone": 1.0}, extra=[("seed", "0")])
    two = page({"a": 1.0, "b": 3.0, "new": 1.0}, extra=[("seed", "1")])
    found = overlaid(one, two)
    (table,) = found.tables
    assert table.columns[:4] == ("layer", "change", "std before", "std after")
    assert [row[:4] for row in table.rows] == [
        ("b", "changed", 2.0, 3.0),
        ("new", "new", None, 1.0),
        ("gone", "gone", 1.0, None),
        ("a", "same", 1.0, 1.0),
    ]
    assert "change" in table.filters
    assert set(table.details) == {"why before", "why after"}
    assert found.title == "A: before and after"
    assert dict(found.facts)["seed"] == "0 → 1"
    assert dict(found.facts)["layers that differ"] == "3 of 4"


def test_what_changed_may_be_told():
    one, two = page({"a": 1.0, "b": 2.0}), page({"a": 1.0, "b": 3.0})
    (table,) = overlaid(one, two, {"a"}).tables
    assert [row[:2] for row in table.rows] == [("a", "changed"), ("b", "same")]


def test_kinds_hold_rows_that_changed_alike():
    names = [f"h.{i}.mlp" for i in range(4)]
    one = page(dict.fromkeys(names, 1.0))
    two = page({name: 1.0 if i else 2.0 for i, name in enumerate(names)})
    (table,) = overlaid(one, two).tables
    assert [(fold.name, len(fold.rows)) for fold in table.folds] == [("h.1…3.mlp", 3)]
    assert len(alike(names, [""] * 4)) == 1


def test_definitions_are_text():
    found = definitions("<a>", [("<b>", "<script>"), ("empty", "")])
    assert "<script>" not in found
    assert "&lt;script&gt;" in found
    assert "empty" not in found
