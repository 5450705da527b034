"""The command line, run in the process of the tests: starting one takes seconds."""

import sys

import pytest

from isoinit.cli import main


def runner(folder, monkeypatch):
    """What gives the exit status of a command, run in a folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "path", sys.path.copy())

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["isoinit", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code

    return call
