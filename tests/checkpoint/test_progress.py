import io
import sys

from isoinit.checkpoint.progress import shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_nothing_is_shown_without_a_terminal_or_a_wish(monkeypatch, capsys):
    with shown(visible=True) as progress:
        assert progress is None
    monkeypatch.setattr(sys, "stderr", Terminal())
    with shown(visible=False) as progress:
        assert progress is None
    assert sys.stderr.getvalue() == ""


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with shown(visible=True) as progress:
        progress(500_000_000, 1_000_000_000)
    assert "0.5/1.0 GB" in sys.stderr.getvalue()
