"""What a folder holds already: a checkpoint to go on with, or something that must not be lost."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isoinit._planning.plan import Plan
from isoinit._showing.findings import listed
from isoinit._system.files import FILE, kind_of, read_text, remove_partials, sync_folder
from isoinit.checkpoint import record as records
from isoinit.checkpoint.files import File
from isoinit.checkpoint.kept import difference
from isoinit.checkpoint.sizes import show_size
from isoinit.errors import ArgumentError, CheckpointError, PlanError

CHECKPOINTS = ("*.safetensors", "*.safetensors.index.json", "*.distcp", ".metadata")


def refuse_place(folder: Path) -> None:
    """Refuse what cannot be the folder of a checkpoint.

    Raises:
        ArgumentError: if it is a file, or its parent is not there.
    """
    if folder.is_file() or folder.suffix == ".safetensors":
        raise ArgumentError(
            f"{folder} is {'a file' if folder.is_file() else 'the name of a file'}; expected a "
            "folder for model.safetensors and its other files. Pass a folder, such as "
            f"{folder.with_name('checkpoint')}"
        )
    if not folder.parent.is_dir():
        raise ArgumentError(f"the folder {folder.parent} does not exist. Create it first")


def make_folder(folder: Path) -> None:
    """Make a folder that is not there yet.

    Raises:
        ArgumentError: if the system refuses.
    """
    try:
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
    except OSError as error:
        raise ArgumentError(
            f"{folder} cannot be created: {error.strerror}. Use another folder"
        ) from None


def prepare(folder: Path, record: Mapping[str, Any], files: Sequence[File]) -> list[str]:
    """Make a folder ready to write to, or to go on with.

    Args:
        folder: is there, and no other process writes to it.
        record: of the checkpoint that is to be written.
        files: all of its files.

    Returns:
        The names of those that are not there yet.

    Raises:
        ArgumentError: if the folder holds another checkpoint, or files that would be lost.
        CheckpointError: if the disk has no room for the rest.
    """
    try:
        known = records.load_record(folder)
    except PlanError as error:
        raise ArgumentError(f"{folder} cannot be written to: {error}. Use another folder") from None
    if known is None:
        _refuse_foreign(folder, files)
    elif known["digest"] != record["digest"]:
        said = "; ".join(records.differences(known, record)[:3])
        other = known["seed"] != record["seed"]
        go_on = f", or pass seed={known['seed']} to continue it" if other else ""
        raise ArgumentError(
            f"nothing was written: {folder} holds another checkpoint ({said}). Write to another "
            f"folder, or remove this one{go_on}"
        )
    missing = _missing(folder, files)
    remove_partials(folder, {file.name for file in files})
    needed, free = sum(file.size for file in missing), shutil.disk_usage(folder).free
    if needed > free:
        raise CheckpointError(
            f"nothing was written: {folder} needs {show_size(needed)} more, but the disk has only "
            f"{show_size(free)} free. Free some space, or use a folder on another disk"
        )
    return [file.name for file in missing]


def _refuse_foreign(folder: Path, files: Sequence[File]) -> None:
    names = [file.name for file in files if kind_of(folder / file.name)]
    names += [path.name for pattern in CHECKPOINTS for path in sorted(folder.glob(pattern))]
    if names:
        raise ArgumentError(
            f"nothing was written: {folder} holds {listed(list(dict.fromkeys(names)))}, not "
            "written by isoinit. Use an empty folder"
        )


def _missing(folder: Path, files: Sequence[File]) -> list[File]:
    """Return the files that are not there, or are a plan that is not whole.

    Raises:
        ArgumentError: if one is there and is not what would be written, as far as that can be seen
            without drawing anything.
    """
    missing = []
    for file in files:
        path = folder / file.name
        try:
            kind = kind_of(path)
            if kind not in ("", FILE):
                raise ArgumentError(
                    f"nothing was written: {path} is {kind}, expected a file. Remove it and "
                    "repeat the call"
                )
            if not kind or (file.name == records.PLAN and not _is_plan(path, file)):
                missing.append(file)
            # The record has no size of the plan, whose notes may change where its numbers do not.
            elif file.name != records.PLAN and (why := difference(path, file)):
                raise ArgumentError(
                    f"{path} {why}. The file was changed after it was written: remove it and "
                    "repeat the call"
                )
        except OSError as error:
            raise ArgumentError(
                f"{path} cannot be read: {error.strerror}. Fix this and repeat the call"
            ) from None
    return missing


def _is_plan(path: Path, file: File) -> bool:
    """Whether a plan that gives the same is there; one cut off or changed is written anew."""
    try:
        found = Plan.from_json(read_text(path, links=False))
    except ValueError:  # among them PlanError: it is not whole
        return False
    wanted = Plan.from_json(b"".join(part.head for part in file.parts).decode())
    return not found.diff(wanted) and (found.seed, found.aliases) == (wanted.seed, wanted.aliases)
