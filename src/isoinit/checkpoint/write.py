"""`write_checkpoint`: initial parameters straight to files, without the model in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from isoinit._planning.plan import Plan
from isoinit._system.alone import alone
from isoinit._system.files import FILE, kind_of
from isoinit._system.locks import locked
from isoinit._system.processes import Facts, agree, gathered, rank_and_size, together
from isoinit._system.signals import check_signals
from isoinit._writing.seeds import offered_seed
from isoinit.checkpoint import record as records
from isoinit.checkpoint.dcp import dcp_contents
from isoinit.checkpoint.files import Contents, File, text_file
from isoinit.checkpoint.folder import make_folder, prepare, refuse_place
from isoinit.checkpoint.pretrained import config_files
from isoinit.checkpoint.shards import safetensors_contents
from isoinit.checkpoint.sizes import parse_size, show_size
from isoinit.checkpoint.tensors import stored_tensors
from isoinit.checkpoint.writer import write_file
from isoinit.errors import ArgumentError, CheckpointError, RankError, did_you_mean, escaped

FORMATS = ("safetensors", "dcp")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Written:
    """A whole checkpoint.

    Attributes:
        directory: its folder.
        seed: the seed of its parameters.
        tensors: the number of tensors, tied ones counted once.
        size: the bytes of all files.
        files: the names of the files.
        new: the names of the files that this call wrote, on all ranks; empty if all existed.
    """

    directory: Path
    seed: int
    tensors: int
    size: int
    files: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self) -> str:
        where = escaped(str(self.directory))
        told = f"{where}: {self.tensors} tensors, {show_size(self.size)}, seed {self.seed}"
        if len(self.new) == len(self.files):
            return told
        kept = len(self.files) - len(self.new)
        said = (
            f"{kept} of {len(self.files)} files existed already"
            if self.new
            else "it existed already, so nothing was written"
        )
        drawn = "only sizes were compared; verify also compares the drawn values"
        return f"{told}; {said} ({drawn})"


@dataclass(frozen=True)
class _Job:
    """All files of a checkpoint, in the order of their groups."""

    first: tuple[File, ...]
    contents: Contents
    record: dict[str, Any]

    @property
    def files(self) -> tuple[File, ...]:
        return (*self.first, *self.contents.files, self.contents.last)


def write_checkpoint(
    plan: Plan,
    model: nn.Module,
    directory: str | os.PathLike[str],
    seed: int | None = None,
    *,
    max_shard_size: int | str = "5GB",
    format: str = "safetensors",  # noqa: A002  # the word that everybody uses
    progress: Progress | None = None,
) -> Written:
    """Write a checkpoint with the bits that `plan.apply(model, seed)` gives a model.

    Parameters are drawn in pieces, and each piece is written while the next is drawn. So the model
    needs no memory: build it under `isoinit.deferred`, or on the meta device if it has no buffers.
    The model is not changed. Whole-matrix initializers (`Orthogonal`, `Sparse`) need memory for one
    parameter. Parameters without an initializer are stored as `apply` leaves them, buffers with their
    values, tied parameters once.

    An interrupted write never looks like a complete checkpoint, and the same call continues it.
    Existing files are compared with the files to write. Of values that the plan draws only the size is
    compared (`verify_checkpoint` compares the values). A plan file that is missing or incomplete is
    written again. In a distributed run every rank calls it with the same arguments, the ranks divide
    the files, and all must see the same folder.

    Args:
        plan: the plan of the model.
        model: a model on any device, wrapped or not.
        directory: a folder. It is created if its parent exists.
        seed: as for `Plan.apply`. None draws one, which `Written.seed` and the files hold. Pass this
            seed to continue an interrupted write.
        max_shard_size: the largest size of a file in bytes, or text such as "5GB" or "1GiB". A larger
            tensor gets its own file.
        format: "safetensors", which `from_pretrained` reads for models of `transformers`; or "dcp"
            for `torch.distributed.checkpoint`.
        progress: a function of two numbers: the bytes that this rank has written, and the total.

    Returns:
        The checkpoint's seed, size and files.

    Raises:
        PlanError: if the plan does not fit the model, or a tensor on the meta device has no values to
            store. Nothing was written.
        RankError: if ranks differ, or one failed.
        ArgumentError: if an argument is out of range, or the folder holds another checkpoint or
            files that would be lost. Nothing was written.
        CheckpointError: if the disk is full or fails. Complete files are kept.

    Example:
        >>> import isoinit, tempfile, torch
        >>> with isoinit.deferred():
        ...     model = torch.nn.Linear(4, 2)
        >>> plan = isoinit.plan(model, torch.zeros(1, 4))
        >>> folder = tempfile.mkdtemp()
        >>> isoinit.write_checkpoint(plan, model, folder, seed=0).files
        ('isoinit.json', 'isoinit_plan.json', 'model.safetensors')
        >>> isoinit.verify_checkpoint(folder).ok
        True
    """
    rank, ranks = rank_and_size()
    folder = Path(directory)
    used = _agreed(seed)
    with alone():
        with together("planning the checkpoint"):
            job = _job(plan, model, folder, used, parse_size(max_shard_size), format)
        _refuse_different(job.record)
        with ExitStack() as stack:
            missing = _missing(stack, folder, job, first=rank == 0)
            shares = _deal([file for file in job.contents.files if file.name in missing], ranks)
            mine = [file for file in job.first if rank == 0 and file.name in missing] + shares[rank]
            last = [job.contents.last] if rank == 0 and job.contents.last.name in missing else []
            count = _counter(progress, sum(file.size for file in (*mine, *last)))
            with together("writing"):
                for file in mine:
                    write_file(folder, file, count)
            with together("writing the last file"):
                for file in last:
                    _refuse_gaps(folder, job.files[:-1])
                    write_file(folder, file, count)
        size = sum(file.size for file in job.files)
        names = tuple(file.name for file in job.files)
        return Written(folder, used, len(job.record["tensors"]), size, names, tuple(missing))


def _agreed(seed: int | None) -> int:
    """The seed of all ranks: without one, the first rank's draw."""

    def find() -> tuple[Facts, int, None]:
        said, offered = offered_seed(seed)
        return lambda: {"seed": said}, offered, None

    used, _ = agree(find, [None])
    return used


def _job(plan: Plan, model: nn.Module, folder: Path, seed: int, most: int, layout: str) -> _Job:
    if layout not in FORMATS:
        near = did_you_mean(layout, FORMATS)
        raise ArgumentError(f"format={layout!r}: expected one of {', '.join(FORMATS)}{near}")
    refuse_place(folder)
    tensors, aliases = stored_tensors(plan, model, seed)
    contents = (
        safetensors_contents(tensors, aliases, most)
        if layout == "safetensors"
        else dcp_contents(tensors, most)
    )
    configs = config_files(model)
    saved = text_file(records.PLAN, replace(plan, seed=seed).to_json() + "\n")
    options = {"seed": seed, "format": layout, "max_shard_size": most}
    others = [*configs, *contents.files, contents.last]
    record = records.make_record(tensors, aliases, others, configs, options)
    first = text_file(records.NAME, records.to_text(record))
    return _Job((first, saved, *configs), contents, record)


def _refuse_different(record: dict[str, Any]) -> None:
    """Refuse ranks that would write different checkpoints."""
    digests = gathered(record["digest"])
    if len(set(digests)) == 1:
        return
    everyone = gathered(record)
    said = [
        f"rank {rank}: {'; '.join(records.differences(other, everyone[0])[:3])}"
        for rank, other in enumerate(everyone)
        if other["digest"] != digests[0]
    ]
    raise RankError(
        f"nothing was written: ranks differ from rank 0; on {', on '.join(said)}. Give every rank "
        "the same model, plan, seed and versions"
    )


def _missing(stack: ExitStack, folder: Path, job: _Job, *, first: bool) -> list[str]:
    """The names of the files that are not there yet, as the first rank finds them."""

    def find() -> tuple[Facts, list[str], None]:
        return dict, _prepared(stack, folder, job) if first else [], None

    missing, _ = agree(find, [None])
    return missing


def _prepared(stack: ExitStack, folder: Path, job: _Job) -> list[str]:
    make_folder(folder)
    if not stack.enter_context(locked(folder)):
        raise ArgumentError(f"another process is writing to {folder}. Wait for it, or stop it")
    return prepare(folder, job.record, job.files)


def _deal(files: Sequence[File], ranks: int) -> list[list[File]]:
    """Deal files out to ranks, the largest first and to the one that has least."""
    shares: list[list[File]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for file in sorted(files, key=lambda file: -file.size):
        rank = loads.index(min(loads))
        shares[rank].append(file)
        loads[rank] += file.size
    return shares


def _refuse_gaps(folder: Path, files: Sequence[File]) -> None:
    gone = [file.name for file in files if kind_of(folder / file.name) != FILE]
    if gone:
        raise CheckpointError(
            f"{', '.join(gone[:3])} was written but is not in {folder}. Use one folder that all "
            "ranks can see, and let no other program remove its files"
        )


def _counter(progress: Progress | None, total: int) -> Callable[[int], None]:
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        check_signals()
        if progress is not None:
            progress(done, total)

    return count
