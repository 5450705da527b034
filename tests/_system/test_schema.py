"""Values are of the types that annotations say, or an error names their place."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from isoinit._system.schema import DEEPEST, read, read_fields, shown, types_of
from isoinit.errors import ArgumentError

if TYPE_CHECKING:
    from nowhere import Unknown

RIGHT = [
    (int, 3),
    (int, -(10**400)),
    (float, 3),
    (float, 0.5),
    (str, "é\0"),
    (bool, False),
    (int | None, None),
    (dict[str, float], {"a": 1}),
    (Any, {"a": [1]}),
    (int | str, []),
    (complex, "1"),
]
WRONG = [
    (int, True),
    (int, 1.0),
    (float, True),
    (float, math.nan),
    (float, math.inf),
    (float, 10**400),
    (float, "1"),
    (str, b"a"),
    (bool, 1),
    (int | None, "1"),
    (tuple[int, ...], "12"),
    (tuple[int, ...], [1, "2"]),
    (dict[str, float], {"a": "1"}),
    (dict[str, float], {1: 1}),
    (dict[str, float], []),
]


@pytest.mark.parametrize(("kind", "value"), RIGHT, ids=str)
def test_what_fits_is_given_back(kind, value):
    found = read(kind, value, ("a",))
    assert found == value
    assert type(found) is type(value)  # a whole number stays one: it is printed as it was


def test_lists_become_tuples():
    assert read(tuple[float, ...], [1, 2.5], ()) == (1, 2.5)


@pytest.mark.parametrize(("kind", "value"), WRONG, ids=str)
def test_what_does_not_fit_is_refused(kind, value):
    with pytest.raises(ArgumentError, match=r"^a\.b(\.\w+)?: found .*; expected "):
        read(kind, value, ("a", "b"))


def test_fields():
    types = {"a": int, "b": float}
    assert read_fields(types, {"a": 1}, (), ["b"]) == {"a": 1}
    for data, match in (
        ({}, "the field 'a' is missing"),
        ({"a": 1, "c": 2}, "'c'; expected a, b"),
        ([], "an object"),
    ):
        with pytest.raises(ArgumentError, match=match):
            read_fields(types, data, (), ["b"])


def test_depth_is_bounded():
    with pytest.raises(ArgumentError, match="nested more than"):
        read(int, 1, ("a",) * (DEEPEST + 1))


def test_a_type_that_only_a_type_checker_knows_is_any():
    @dataclass
    class Own:
        a: "Unknown"

    assert types_of(Own) == {"a": Any}


def test_what_is_shown_is_short():
    assert shown("x" * 1000) == f"'{'x' * 59}…"
    assert (shown({"a": 1}), shown([1, 2]), shown("\ud800")) == (
        "an object",
        "a list of 2",
        "'\\ud800'",
    )
