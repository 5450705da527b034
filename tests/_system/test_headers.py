"""A header is taken where safetensors takes it, and read alike; all else is one clear error."""

import json
import os
import re

import pytest
from safetensors import SafetensorError, deserialize

from damage import damaged, file_of, originals
from isoinit._system.headers import BITS, MOST, Header, parse_header, read_header, read_index

# What the format forbids and the package takes: see `headers`.
STRICTER = re.compile(
    r"the key .* appears twice|is not an object with dtype|has type \{'F32': None\}", re.DOTALL
)
ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def oracle(data):
    """What safetensors reads: type, shape and bytes by name; None if it refuses."""
    try:
        tensors = dict(deserialize(data))
    except SafetensorError:
        return None
    return {n: (t["dtype"], tuple(t["shape"]), bytes(t["data"])) for n, t in tensors.items()}


def read(path, data):
    path.write_bytes(data)
    header, begin = read_header(path, links=False)
    return {n: (t.dtype, t.shape, data[begin + t.begin : begin + t.end]) for n, t in header.items()}


def attempt(path, data):
    """What is read, or None and why nothing is."""
    try:
        return read(path, data), ""
    except ValueError as error:
        return None, str(error)


def refusal(path, data):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the text is the result
        read(path, data)
    assert type(caught.value) is ValueError
    return str(caught.value)


@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_safetensors_on_damaged_files(tmp_path, seed):
    path, taken = tmp_path / "x.safetensors", 0
    for data in damaged(700, seed):
        expected, (found, said) = oracle(data), attempt(path, data)
        if found is None:
            assert expected is None or STRICTER.search(said), (data, said)
        else:
            assert found == expected, data
            taken += 1
    assert taken > 50


def test_whole_files_and_every_type(tmp_path):
    path = tmp_path / "x.safetensors"
    for data in originals():
        assert read(path, data) == oracle(data)
    for dtype, bits in BITS.items():
        for shape in ([8], [3], []):
            size = max(1, bits * (shape or [1])[0] // 8)
            header = {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}
            data = file_of(header, bytes(size))
            if (expected := oracle(data)) is None:
                assert "takes" in refusal(path, data)
            else:
                assert read(path, data) == expected


@pytest.mark.parametrize(
    ("header", "size", "words"),
    [
        ({"a": ONE, "b": {**ONE, "data_offsets": [9, 17]}}, 17, "leaves a gap"),
        ({"a": ONE, "b": {**ONE, "data_offsets": [4, 12]}}, 12, "overlaps"),
        ({"a": ONE, "b": ONE}, 8, "overlaps"),
        ({"a": {**ONE, "data_offsets": [0, 4]}}, 4, "has 4 bytes, but F32 of shape .2. takes 8"),
        ({"a": ONE}, 9, "has .* bytes, expected"),
        ({"a": {**ONE, "dtype": "F128"}}, 8, "has type 'F128'; expected one of BOOL"),
        ({"a": {**ONE, "shape": [2**40, 2**40]}}, 8, "more elements than a 64-bit"),
        ({"a": {**ONE, "shape": [-2]}}, 8, "expected a list of integers"),
        (b'{"a": {}, "a": {}}', 0, "the key 'a' appears twice"),
        (b"[" * 100_000, 0, "nested too deeply"),
        (b'{"a":' * 100_000, 0, "nested too deeply"),
        (b'{"\xff": 1}', 0, "can't decode"),
        (b"[]", 0, "not a JSON object"),
        ({"__metadata__": {"a": 1}}, 0, "values that are not text"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, header, size, words):
    data = file_of(header, bytes(size))
    assert re.search(words, refusal(tmp_path / "x.safetensors", data))


def test_fields_of_others_may_be_nested_as_deeply_as_there():
    for depth in (124, 125, 126, 127, 900):
        more = json.loads("[" * depth + "]" * depth)
        text = json.dumps({"a": {**ONE, "more": more}}).encode()
        if oracle(file_of(text, bytes(8))) is None:
            with pytest.raises(ValueError, match="nested too deeply"):
                parse_header(text)
        else:
            assert parse_header(text) == {"a": Header("F32", (2,), 0, 8)}


def test_a_length_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes((MOST + 1).to_bytes(8, "little"))
    os.truncate(path, 2 * MOST)  # takes no room
    with pytest.raises(ValueError, match="expected at most 100000000"):
        read_header(path, links=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("[]", "it is not an index"),
        ("{}", "it is not an index"),
        ('{"weight_map": []}', "it is not an index"),
        ('{"weight_map": {"a": 1}}', "it is not an index"),
        ('{"weight_map": {"a": "x", "a": "y"}}', "appears twice"),
        ("[" * 100_000, "nested too deeply"),
        *(
            (json.dumps({"weight_map": {"a": name}}), "the name of a file in the same folder")
            for name in ("../x", "/x", "a/b", "a\\b", "C:x", "", ".", "..", "a\0b", "a\nb")
        ),
    ],
)
def test_an_index_names_files_beside_it_and_no_others(tmp_path, text, words):
    path = tmp_path / "index.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_index(path, links=False)
    path.write_text('{"weight_map": {"a": "x", "b": "x"}}')
    assert read_index(path, links=False) == {"a": "x", "b": "x"}
