"""However a command ends: one line on standard error and a status that is not that of a finding."""

import os
import subprocess
import sys

import pytest

from commands import runner

TARGETS = """
import sys

import torch
from torch import nn


def fine(kind=nn.Linear):
    return kind(4, 4), torch.zeros(2, 4)


def leaves():
    sys.exit(0)


def leaves_with_a_status():
    sys.exit(1)


def leaves_with_a_text():
    sys.exit("that was it")


def raises_another_base():
    raise BaseException("unusual")


def has_no_end():
    return has_no_end()


def says_lines():
    raise ValueError("one" + chr(10) * 2 + "two" + chr(27) + "[2J")


def says_nothing():
    raise ValueError


def says_too_much():
    raise ValueError("x" * 100_000)


class Odd(Exception):
    def __str__(self):
        raise KeyError("again")


def cannot_say():
    raise Odd


def stops():
    raise KeyboardInterrupt


class Leaving(nn.Linear):
    def forward(self, x):
        sys.exit(0)


def leaves_in_its_forward():
    return fine(Leaving)


class Stopping(nn.Linear):
    def forward(self, x):
        raise KeyboardInterrupt


def stops_in_its_forward():
    return fine(Stopping)


def leaves_in_its_loss():
    return (*fine(), lambda output: sys.exit(1))
"""

FILES = {
    "leaving.py": b"import sys; sys.exit(0)",
    "stopping.py": b"raise KeyboardInterrupt",
    "wrong.py": b"def f(:",
    "binary.py": b"\0\1\xff",
    "odd.py": b"class Odd(Exception):\n    def __str__(self): 1 / 0\n\nraise Odd",
    "importing.py": b"import nothing_of_this_name",
}


@pytest.fixture
def status(tmp_path, monkeypatch):
    (tmp_path / "targets.py").write_text(TARGETS)
    for name, text in FILES.items():
        (tmp_path / name).write_bytes(text)
    (tmp_path / "folder.json").mkdir()
    return runner(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("plan targets.py:leaves", "sys.exit(0) (FOLDER/targets.py, line 13)"),
        ("plan targets.py:leaves_with_a_status", "sys.exit(1)"),
        ("plan targets.py:leaves_with_a_text", "sys.exit(that was it)"),
        ("plan targets.py:raises_another_base", "BaseException: unusual"),
        ("plan targets.py:has_no_end", "RecursionError: maximum"),
        ("plan targets.py:says_lines", "ValueError: one two\\x1b[2J (FOLDER/targets.py, line 33)"),
        ("plan targets.py:says_nothing", "failed: ValueError (FOLDER/targets.py, line 37)"),
        ("plan targets.py:says_too_much", "xxx… (FOLDER/targets.py, line 41)"),
        ("plan targets.py:cannot_say", "Odd: its message cannot be shown: KeyError"),
        ("check targets.py:leaves_in_its_forward", "sys.exit(0) (FOLDER/targets.py, line 59)"),
        ("check targets.py:leaves_in_its_loss", "sys.exit(1) (FOLDER/targets.py, line 76)"),
        ("audit targets.py:leaves", "sys.exit(0)"),
        ("compare targets.py:leaves", "sys.exit(0)"),
        ("init targets.py:leaves -o out", "sys.exit(0)"),
        ("plan leaving.py:f", "sys.exit(0) (FOLDER/leaving.py, line 1)"),
        ("plan wrong.py:f", "SyntaxError: invalid syntax (wrong.py, line 1)"),
        ("plan binary.py:f", "SyntaxError"),
        ("plan odd.py:f", "Odd: its message cannot be shown: ZeroDivisionError"),
        ("plan importing.py:f", "nothing_of_this_name"),
        ("plan folder.json:f", "importing folder.json failed"),
        ("diff folder.json folder.json", "is a directory. See isoinit diff --help."),
        ("demo --picture no/such/folder.png", "there is no folder no/such"),
        ("plan targets.py:fine --html no/such/folder.html", "there is no folder no/such"),
        ("plan", "Missing argument 'TARGET'. See isoinit plan --help."),
        ("fly", "No such command 'fly'. See isoinit --help."),
        ("plan targets.py:fine --seed x", "Invalid value for '--seed'"),
    ],
)
def test_an_error_is_one_line_and_two(status, tmp_path, capsys, arguments, words):
    assert status(*arguments.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("isoinit: ")
    assert shown.err.count("\n") == 1
    assert words.replace("FOLDER", str(tmp_path)) in shown.err


@pytest.mark.parametrize("target", ["targets.py:stops", "stopping.py:f"])
def test_ctrl_c_is_130(status, capsys, target):
    assert status("plan", target) == 130
    assert capsys.readouterr().err == "isoinit: interrupted\n"


def test_ctrl_c_while_the_model_runs(status, capsys):
    assert status("check", "targets.py:stops_in_its_forward") == 130
    assert capsys.readouterr().err == "isoinit: interrupted\n"


def test_the_traceback_is_there_for_who_asks(status, capsys, monkeypatch):
    monkeypatch.setenv("ISOINIT_TRACEBACK", "1")
    assert status("plan", "targets.py:says_nothing") == 2
    error = capsys.readouterr().err
    assert "line 37, in says_nothing" in error
    assert error.splitlines()[-1].startswith("isoinit: TARGET")


def test_without_a_command_the_help_is_printed(status, capsys):
    assert status() == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("isoinit plan m.py:f --method o", ["orthogonal"]),
        ("isoinit check m.py:f --recipe paper:b", ["paper:bert"]),
        ("isoinit ver", ["verify"]),
    ],
)
def test_shell_completion(status, capsys, monkeypatch, words, expected):
    monkeypatch.setenv("_ISOINIT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert status() == 0
    assert capsys.readouterr().out.split() == expected


def test_the_script_of_shell_completion(status, capsys, monkeypatch):
    assert status("--show-completion") in (0, 1)  # 1 where no shell is among the parents
    assert "sys.exit" not in capsys.readouterr().err
    monkeypatch.setenv("_ISOINIT_COMPLETE", "source_bash")
    assert status() == 0
    assert "complete -o default" in capsys.readouterr().out


def test_help_tells_the_exit_status(status, capsys):
    assert status("--help") == 0
    assert "Exit status: 0 done" in capsys.readouterr().out


def test_written_out_names_are_those_of_the_library():
    from isoinit._planning.recipes import RECIPES
    from isoinit._planning.rules import METHODS
    from isoinit.cli import options

    assert (tuple(options.METHODS), tuple(options.RECIPES)) == (METHODS, RECIPES)


def by_shell(command):
    """In a shell, without a framework: what `isoinit rules` needs none for."""
    line = f"{sys.executable} -c 'from isoinit.cli import main; main()'"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("isoinit", line)],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="shells are of another kind")
class TestOutputs:
    """What reads the output may go, and what takes it may be full or closed."""

    def test_a_reader_that_goes_is_no_error(self):
        assert by_shell("isoinit rules | true") == (141, "", "")

    def test_no_output_at_all(self):
        assert by_shell("isoinit rules >&-") == (0, "", "")

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="nothing is full here")
    def test_no_room(self):
        status, _, error = by_shell("isoinit rules > /dev/full")
        assert status == 2
        assert error.startswith("isoinit: OSError: [Errno 28] No space left on device")
        assert error.count("\n") == 1
