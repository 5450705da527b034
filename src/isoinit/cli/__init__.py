"""The command line: `isoinit plan`, `check`, `audit`, `compare`, `init` and so on.

`commands` holds one function a command, `targets` finds the function that a command is pointed at.
Import `main` from here, which runs the command line; nothing of the library imports this room.
"""

from isoinit.cli.commands import main

__all__ = ["main"]
