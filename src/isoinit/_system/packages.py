"""Packages that only a part of the library needs: what to say where one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from isoinit.errors import PackageError


@contextmanager
def needs(package: str, what: str) -> Iterator[None]:
    """Import in this block what `what` cannot do without.

    Args:
        package: the name that is imported and installed, such as "torch".
        what: what the user called, such as "Plan.apply".

    Raises:
        PackageError: if the package is not installed, saying how to install it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise PackageError(
            f"{what} needs {package}, which is not installed: pip install {package}"
        ) from error
