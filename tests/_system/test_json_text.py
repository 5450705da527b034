"""JSON that two readers could understand differently is refused."""

import pytest

from isoinit._system.json_text import parse_json


def test_what_is_read():
    assert parse_json('{"a": [1, NaN], "b": "\\ud83d\\ude00"}')["b"] == "😀"
    numbers = parse_json("[-0, 18446744073709551616, 18446744073709551615]", strict=True)
    assert list(map(type, numbers)) == [float, float, int]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "b": {"x": 1, "x": 1}}', "the key 'x' appears twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("{", "Expecting"),
    ],
)
def test_what_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_json(text)


@pytest.mark.parametrize("text", ['["\\ud800"]', '{"\\udc00": 1}'])
def test_half_a_character_is_in_no_other_file(text):
    assert parse_json(text)
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        parse_json(text, strict=True)


def test_objects_that_are_equal_are_one():
    first, second, other = parse_json('[{"a": [1, true]}, {"a": [1, true]}, {"a": [1.0, 1]}]')
    assert first is second
    assert repr(first) == "{'a': [1, True]}"
    assert repr(other) == "{'a': [1.0, 1]}"


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_are_none_elsewhere(text):
    with pytest.raises(ValueError, match=r"is out of range|is not a number"):
        parse_json(text, strict=True)
