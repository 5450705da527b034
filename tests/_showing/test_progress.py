import io
import sys

from isoinit._showing.progress import bytes_shown, steps_shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_nothing_is_shown_without_a_terminal_or_a_wish(monkeypatch, capsys):
    with bytes_shown("writing", visible=True) as progress:
        assert progress is None
    monkeypatch.setattr(sys, "stderr", Terminal())
    with bytes_shown("writing", visible=False) as progress:
        assert progress is None
    assert sys.stderr.getvalue() == ""


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with bytes_shown("writing", visible=True) as progress:
        progress(500_000_000, 1_000_000_000)
    assert "0.5/1.0 GB" in sys.stderr.getvalue()


def test_steps_are_named_and_counted(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with steps_shown(10, visible=True) as advance:
        advance("plan, seed 0", 4)
        advance("plan, seed 1", 1)
    shown = sys.stderr.getvalue()
    assert "plan, seed 1" in shown
    assert "5/10" in shown


def test_steps_without_a_terminal(capsys):
    with steps_shown(10, visible=True) as advance:
        advance("plan, seed 0", 4)
    assert capsys.readouterr().err == ""
