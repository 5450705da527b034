"""What can be shown in the terminal: a mixin for plans, verdicts and predictions."""

from __future__ import annotations

from typing import Any


class Printed(str):
    """Text that a REPL shows as `print` does.

    Example:
        >>> Printed("one" + chr(10) + "two")
        one
        two
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Tabled:
    """What `print` and IPython show as a table, and a plain REPL in one line."""

    def show(self) -> Printed:
        """Return the table."""
        raise NotImplementedError

    def __str__(self) -> str:
        return str(self.show())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The table, as IPython shows it."""
        printer.text(str(self))


def counted(count: int, what: str) -> str:
    """A number of things in words.

    Example:
        >>> counted(1, "layer"), counted(1200, "layer")
        ('1 layer', '1,200 layers')
    """
    return f"{count:,} {what}{'s' * (count != 1)}"


def rough(number: int) -> str:
    """A large number to three digits, as the sizes of models are told.

    Example:
        >>> rough(820), rough(124_439_808), rough(6_738_415_616)
        ('820', '124 M', '6.74 B')
    """
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("k", 10**4)):
        if number >= size:
            value = number / (10**3 if unit == "k" else size)
            return f"{value:.{max(0, 2 - (len(str(int(value))) - 1))}f} {unit}"
    return f"{number:,}"
