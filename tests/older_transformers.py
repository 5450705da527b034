"""Tests that state what the code of transformers says: earlier versions say something else."""

from importlib.metadata import version

import pytest

OLDER = tuple(map(int, version("transformers").split(".")[:2])) <= (5, 10)
SAID = "the code of these models was another in transformers 5.10 and before"
not_older = pytest.mark.skipif(OLDER, reason=SAID)


def unless_older(*values):
    """Return the values of a parameter of a test, of which some are skipped with older versions."""
    return pytest.param(*values, marks=not_older)
