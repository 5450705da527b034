"""The command line: `isoinit plan`, `check`, `audit`, `compare`, `init` and so on.

`commands` holds one function a command, `targets` finds the function that a command is pointed at,
`run` runs a command and answers by its exit status, `failures` says what went wrong, and `demo` is
what `isoinit demo` runs. Import `main` from here, which runs the command line; nothing of the library
imports this room.
"""

from isoinit.cli.run import main

__all__ = ["main"]
