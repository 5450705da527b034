"""The target of a command: a function that makes a model, a batch and a loss."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from isoinit._system.signals import call_user
from isoinit.cli.failures import told
from isoinit.errors import ArgumentError

if TYPE_CHECKING:
    from torch import nn

    from isoinit._verifying.losses import Loss


class Loaded(NamedTuple):
    """What a target's function returns; None for what it leaves out.

    The batch holds what the model takes, and the loss is of its output alone.
    """

    model: nn.Module
    batch: Any = None
    loss: Loss | None = None


def load_target(target: str, seed: int = 0, *given: int) -> Loaded:
    """Import a target and call it.

    Args:
        target: `package.module:function` or `path/to/file.py:function`.
        seed: given to `torch.manual_seed` before the call, so that the model and the batch that
            the function makes repeat.
        given: what the function takes, such as a width.

    Raises:
        ArgumentError: if it does not import, fails, or returns something else.
    """
    return call_target(find_target(target), target, seed, *given)


def find_target(target: str) -> Callable[..., Any]:
    """Import a target, and do not call it.

    Raises:
        ArgumentError: if it does not import.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise ArgumentError(
            f"TARGET {target!r}: expected package.module:function or path/to/file.py:function"
        )
    function = getattr(_import(place, target), name, None)
    if not callable(function):
        raise ArgumentError(f"TARGET {target!r}: {place} has no function called {name!r}")
    return cast("Callable[..., Any]", function)


def call_target(
    function: Callable[..., Any], target: str, seed: int | None = None, *given: int
) -> Loaded:
    """Call a target's function.

    Args:
        function: what `find_target` found.
        target: what it was found by, for errors.
        seed: as for `load_target`; None leaves torch's generators to the caller.
        given: what the function takes, such as a width.

    Raises:
        ArgumentError: if it fails, or returns something else.
    """
    import torch

    name = target.rpartition(":")[2]
    if seed is not None:
        torch.manual_seed(seed)
    name = f"{name}({', '.join(map(str, given))})"
    taken = "that takes only a width" if given else "without arguments"
    with _theirs(target, f"calling {name}", f". Expected a function {taken}"):
        made = call_user(function, *given)
    loaded = Loaded(*made) if isinstance(made, tuple) and len(made) in (2, 3) else Loaded(made)
    if not isinstance(loaded.model, torch.nn.Module):
        raise ArgumentError(
            f"TARGET {target!r}: {name} returned a {type(made).__name__}; expected a "
            "torch.nn.Module, (model, batch) or (model, batch, loss)"
        )
    if loaded.loss is not None and not callable(loaded.loss):
        raise ArgumentError(
            f"TARGET {target!r}: {name} returned a {type(loaded.loss).__name__} as its loss; "
            "expected a function of the model's output"
        )
    if loaded.loss is not None and loaded.batch is not None:
        from isoinit._verifying.losses import inputs_and_loss

        try:
            return Loaded(loaded.model, *inputs_and_loss(loaded.batch, loaded.loss))
        except ArgumentError as error:
            raise ArgumentError(f"TARGET {target!r}: {error}") from None
    return loaded


@contextmanager
def _theirs(target: str, doing: str, hint: str = "") -> Iterator[None]:
    """Run code of the user's, which may raise anything and may end Python: all that is an error.

    Raises:
        ArgumentError: for whatever is raised, but for Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ArgumentError(f"TARGET {target!r}: {doing} failed: {told(error)}{hint}") from error


def _import(place: str, target: str) -> ModuleType:
    if not place.endswith(".py"):
        sys.path.insert(0, "")
        with _theirs(target, f"importing {place}"):
            return importlib.import_module(place)
    path = Path(place)
    if not path.is_file():
        raise ArgumentError(f"TARGET {target!r}: there is no file {place}")
    # Under a name of its own, so that a file called random.py replaces nothing.
    name = f"isoinit_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent.resolve()))
    with _theirs(target, f"importing {place}"):
        spec.loader.exec_module(module)
    return module
