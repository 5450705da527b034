"""The target of a command: what makes a model, and perhaps a batch and a loss."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from isoinit._system.signals import call_user
from isoinit.cli.configs import SCHEME, model_of
from isoinit.cli.failures import near_file, told
from isoinit.errors import ArgumentError, did_you_mean

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
    """Import a target and call it; a model is taken as it is.

    Args:
        target: `package.module:name`, `path/to/file.py:name` or `hf:path/to/config.json`. The name
            is that of a function, a class or a model.
        seed: given to `torch.manual_seed` before the call, so that the model and the batch that
            the function makes repeat.
        given: what the function takes, such as a width.

    Raises:
        ArgumentError: if it does not import, fails, or returns something else.
    """
    found = find_target(target, seed)
    if _is_model(found):
        return Loaded(cast("nn.Module", found))
    return call_target(found, target, seed, *given)


def find_target(target: str, seed: int) -> Any:
    """Import a target, and do not call it.

    Args:
        target: as for `load_target`.
        seed: given to `torch.manual_seed` before the import, which may make a model.

    Returns:
        What makes the model, or a model.

    Raises:
        ArgumentError: if it does not import.
    """
    place, colon, name = target.rpartition(":")
    if target.startswith(SCHEME):
        return lambda: model_of(target)
    # Of a Windows path without a function, the only colon is that behind its drive.
    if not colon or not place or not name or "\\" in name or "/" in name:
        raise ArgumentError(
            f"TARGET {target!r}: expected package.module:function or path/to/file.py:function"
        )
    module = _import(place, target, seed)
    found = getattr(module, name, None)
    if not callable(found):
        near = did_you_mean(name, (n for n, value in vars(module).items() if callable(value)))
        raise ArgumentError(
            f"TARGET {target!r}: {place} has no function, class or model called {name!r}{near}"
        )
    return found


def refuse_model(found: Any, target: str, what: str) -> None:
    """Refuse a model as the target of a command that makes models itself.

    Raises:
        ArgumentError: saying what to give instead.
    """
    if _is_model(found):
        raise ArgumentError(
            f"TARGET {target!r} is a model, and {what} makes models itself: give the function or the "
            "class that makes it"
        )


def _is_model(found: object) -> bool:
    import torch

    return isinstance(found, torch.nn.Module)


def call_target(
    function: Callable[..., Any], target: str, seed: int | None = None, *given: int
) -> Loaded:
    """Call a target's function, or copy its model.

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
    if target.startswith(SCHEME):
        return Loaded(function())
    taken = "that takes only a width" if given else "without arguments"
    with _theirs(target, f"calling {name}", f". Expected a function {taken}"):
        is_model = _is_model(function)
        made: Any = copy.deepcopy(function) if is_model else call_user(function, *given)
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


def _import(place: str, target: str, seed: int) -> ModuleType:
    path = Path(place)
    is_file = place.lower().endswith(".py")
    if is_file and not path.is_file():
        raise ArgumentError(f"TARGET {target!r}: there is no file {place}{near_file(path)}")
    import torch

    torch.manual_seed(seed)
    if not is_file:
        sys.path.insert(0, "")
        with _theirs(target, f"importing {place}"):
            return importlib.import_module(place)
    # Under a name of its own, so that a file called random.py replaces nothing.
    name = f"isoinit_target_{path.stem}"
    # Named, for otherwise Python would know no loader for NET.PY.
    loader = SourceFileLoader(name, str(path.absolute()))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent.resolve()))
    with _theirs(target, f"importing {place}"):
        loader.exec_module(module)
    return module
