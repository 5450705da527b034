"""Which parameters a checkpoint has: names and shapes, from a state dict or from files; no values."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from isoinit._reading.torch.names import plain_names
from isoinit._showing.findings import listed
from isoinit._system.files import open_regular
from isoinit._system.headers import read_header, read_index
from isoinit.errors import PlanError

Shape: TypeAlias = "tuple[int, ...] | None"
Given: TypeAlias = "Mapping[str, Any] | Iterable[str] | str | os.PathLike[str] | Stored"

SAFE, PICKLED = ".safetensors", (".bin", ".pt", ".pth", ".ckpt")
INDEX = ".index.json"
# What a folder is looked for, the first that is there: the whole before an index of parts.
NAMES = ("model", "pytorch_model", "adapter_model")
EXPECTED = (
    "a state dict, the names in it, a .safetensors or .pt file, an index (.index.json), or a folder "
    "that holds one of these"
)


@dataclass(frozen=True)
class Stored:
    """What a checkpoint has.

    Attributes:
        shapes: the shape of each tensor, by name; None where only its name is known.
        place: how errors call it: "only_missing", with the path of a file.
    """

    shapes: Mapping[str, Shape]
    place: str


def stored(given: Given) -> Stored:
    """Return the names and shapes in a checkpoint; no weights are loaded.

    Args:
        given: a state dict; its keys, or other names; or the path of a file or folder.

    Raises:
        PlanError: if it is something else, or a file cannot be read.
    """
    if isinstance(given, Stored):
        return given
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        try:
            return Stored(_on_disk(path), f"only_missing ({os.fspath(given)})")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            said = str(error) or type(error).__name__
            raise PlanError(f"nothing was changed: only_missing: {path}: {said}") from error
    if isinstance(given, Mapping):
        shapes = {n: _shape(value) for n, value in given.items() if isinstance(n, str)}
    elif isinstance(given, Iterable) and not isinstance(given, (bytes, torch.nn.Module)):
        given = list(given)
        shapes = dict.fromkeys((n for n in given if isinstance(n, str)), None)
    else:
        raise _no_checkpoint(f"is a {type(given).__name__}")
    if other := next((n for n in given if not isinstance(n, str)), None):
        raise _no_checkpoint(f"holds a {type(other).__name__}, which is not a name")
    return Stored(shapes, "only_missing")


def parameters_in(
    there: Stored, parameters: Mapping[str, Any], tied: Mapping[str, str]
) -> list[str]:
    """Return which parameters of a model a checkpoint has.

    Args:
        there: what it has.
        parameters: what has a shape, by name.
        tied: for each further name of a tied parameter, the name that it goes by.

    Raises:
        PlanError: if it has none of them, or one of another shape.
    """
    known = {tied.get(name, name): shape for name, shape in plain_names(there.shapes).items()}
    given = [name for name in parameters if name in known]
    for name in given:
        shape = tuple(parameters[name].shape)
        if known[name] not in (None, shape):
            raise PlanError(
                f"nothing was changed: {there.place} has {name!r} of shape {known[name]}, but the "
                f"model has shape {shape}, so it cannot be loaded. Pass only the other names (a "
                "list is enough). Then the plan fills this parameter, and you can copy the values "
                "that fit"
            )
    if not given and known:
        raise PlanError(
            f"nothing was changed: none of the {len(known)} names in {there.place} (such as "
            f"{next(iter(there.shapes))!r}) is a parameter of the model (such as "
            f"{next(iter(parameters))!r}). Pass the state_dict of a model like this one"
        )
    return given


def _no_checkpoint(said: str) -> PlanError:
    return PlanError(f"nothing was changed: only_missing {said}; expected {EXPECTED}")


def _shape(value: Any) -> Shape:
    shape = getattr(value, "shape", None)
    return None if shape is None else tuple(shape)


def _on_disk(path: Path) -> dict[str, Shape]:
    """Return what a file or folder has.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: if it cannot be read.
    """
    if path.is_dir():
        path = _in_folder(path)
    if path.name.endswith(INDEX):
        files = sorted(set(read_index(path, links=True).values()))
        parts = [_in_file(path.parent / file) for file in files]
        return {name: shape for part in parts for name, shape in part.items()}
    return _in_file(path)


def _in_file(path: Path) -> dict[str, Shape]:
    """Return what a file that holds tensors has; a link is followed, as Hugging Face's cache needs.

    Raises:
        OSError, ValueError, AttributeError: if it cannot be read.
    """
    if path.suffix == SAFE:
        return {name: tensor.shape for name, tensor in read_header(path, links=True)[0].items()}
    if path.suffix in PICKLED:
        return _pickled(path)
    if not path.exists():
        raise ValueError("there is no such file or folder")
    raise ValueError(f"expected {EXPECTED}")


def _in_folder(folder: Path) -> Path:
    """Return the file of a folder that says what its checkpoint has."""
    whole = [folder / f"{name}{end}" for end in (SAFE, ".bin") for name in NAMES]
    parts = [path.with_name(f"{path.name}{INDEX}") for path in whole]
    loose = sorted(folder.glob(f"*{SAFE}"))
    found = [path for path in (*whole, *parts) if path.is_file()] or loose
    if not found:
        raise ValueError("it holds no .safetensors file, no .bin file and no index of such files")
    if found == loose and len(loose) > 1:
        names = listed([path.name for path in loose])
        raise ValueError(
            f"it holds {names} but no index ({NAMES[0]}{SAFE}{INDEX}). Pass one of these files"
        )
    return found[0]


def _pickled(path: Path) -> dict[str, Shape]:
    """Return what `torch.save` wrote; its values stay in the file, where it is a zip archive."""
    with open_regular(path, links=True) as file:
        mapped = zipfile.is_zipfile(file)
    try:
        state = torch.load(path, map_location="meta", weights_only=True, mmap=mapped or None)
    except OSError:
        raise
    except Exception as error:
        said = str(error).partition("\n")[0]
        raise ValueError(f"torch.load(weights_only=True) failed ({said})") from error
    if not isinstance(state, Mapping):
        raise ValueError(f"it holds a {type(state).__name__}; expected a state dict")
    shapes = {str(name): _shape(value) for name, value in state.items()}
    if state and all(shape is None for shape in shapes.values()):
        names = listed([repr(name) for name in shapes])
        raise ValueError(
            f"it holds {names} instead of tensors. Load it, and pass the state dict in it"
        )
    return {name: shape for name, shape in shapes.items() if shape is not None}
