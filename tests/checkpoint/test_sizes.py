import pytest

from isoinit.checkpoint.sizes import parse_size, show_size
from isoinit.errors import ArgumentError


@pytest.mark.parametrize(
    ("text", "size"),
    [("5GB", 5 * 10**9), ("200MB", 2 * 10**8), ("1GiB", 2**30), ("1.5kb", 1500), ("7B", 7), (9, 9)],
)
def test_sizes_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("wrong", ["", "5", "5 XB", "5IB", "-1GB", "0GB", 0, -3, True, 1.5, None])
def test_others_are_refused(wrong):
    with pytest.raises(ArgumentError, match='or text such as "5GB"'):
        parse_size(wrong)


def test_shown():
    assert [show_size(n) for n in (0, 999, 1000, 2_500_000)] == ["0 B", "999 B", "1 kB", "2.5 MB"]
