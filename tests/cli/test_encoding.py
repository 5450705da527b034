"""What commands print is shown in any encoding."""

import codecs
import io
import sys

import pytest

from isoinit._planning.rules import to_markdown
from isoinit._showing.sparkline import BARS
from isoinit.cli.encoding import ERRORS, spell_out, spelled


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("linear 8→16 × 2", "linear 8->16 x 2"),
        ("σ² ± 1e-3 · √(2π)", "sigma^2 +- 1e-3 . sqrt(2pi)"),
        ("ω₀, φ and ϕ, Δ", "omega_0, phi and phi, delta"),
        ("─│ … “café” naïve", '-| ... "cafe" naive'),
        (BARS, "12345678"),
        ("語 \udcff", "? ?"),
    ],
)
def test_characters_that_are_missing_are_spelled_out(text, said):
    assert "".join(map(spelled, text)) == said


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "cp850", "latin-1", "utf-8"])
def test_streams_take_all_that_isoinit_prints(monkeypatch, encoding):
    """As much as the encoding has is left as it is."""
    out, errors = io.BytesIO(), io.BytesIO()
    for name, data in (("stdout", out), ("stderr", errors)):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(data, encoding=encoding))
    spell_out()
    text = to_markdown() + BARS
    print(text)
    print(text, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    shown = "".join(c if has(encoding, c) else spelled(c) for c in text)
    assert out.getvalue().decode(encoding) == errors.getvalue().decode(encoding) == shown + "\n"


def has(encoding, character):
    try:
        return bool(character.encode(encoding))
    except UnicodeEncodeError:
        return False


def test_a_stream_that_is_closed_or_none_of_pythons_is_left(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    spell_out()
    with pytest.raises(UnicodeDecodeError):  # the handler is for what is written
        b"\xff".decode("ascii", codecs.lookup_error(ERRORS) and ERRORS)
