"""Headers of JSON files: what was written is read, and nothing else."""

import json

import pytest

from isoinit._system.formats import Format
from isoinit.errors import PlanError

FORM = Format("format", "isoinit list", 2, "list", "write it again")


def test_what_was_written_is_read():
    data = {**FORM.header, "items": [1, 2]}
    assert FORM.parse(json.dumps(data)) == data


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"format": "isoin', "the list is not valid JSON"),
        ("[]", 'not a list: expected a JSON object with "format": "isoinit list"'),
        ('{"format": "isoinit plan", "version": 2}', "not a list"),
        (
            '{"format": "isoinit list"}',
            "the list has version None, but this isoinit reads version 2: write it again",
        ),
        ('{"format": "isoinit list", "version": [[[]]]}', "has version a list of 1"),
        ('{"format": "isoinit list", "version": 2.0}', r"has version 2\.0"),
        ('{"format": "isoinit list", "version": 2, "a": 1, "a": 2}', "'a' appears twice"),
        ("[" * 100_000, "the list is not valid JSON"),
        ("9" * 5000, "the list is not valid JSON|not a list"),
    ],
)
def test_anything_else_is_refused(text, match):
    with pytest.raises(PlanError, match=match):
        FORM.parse(text)
