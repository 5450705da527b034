"""Where the parameters of a model lie, however it is spread over processes.

Read are DTensors of any placement (tensor parallel, `fully_shard`, expert parallel, on meshes of any
number of dimensions) and the flat parameters of `FullyShardedDataParallel`. Everything else is whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from isoinit._drawing.shard import Piece
from isoinit._reading.torch.fakes import FAKE, is_fake
from isoinit._reading.torch.names import named_modules, named_parameters
from isoinit.errors import PlanError


@dataclass(frozen=True)
class Held:
    """What this process holds of a tensor.

    Attributes:
        tensor: as the model has it: a parameter, plain or sharded.
        memory: this process's part, to read and write: of the shape `piece.held`, or flat.
        piece: which part of the whole that is.
        shape: of the whole.
        parts: the process groups whose ranks hold other parts.
        copies: the process groups whose ranks hold the same.
    """

    tensor: torch.Tensor
    memory: torch.Tensor
    piece: Piece
    shape: tuple[int, ...]
    parts: tuple[Any, ...] = ()
    copies: tuple[Any, ...] = ()

    @property
    def dtype(self) -> torch.dtype:
        """The type of the elements."""
        return self.memory.dtype


def held_parameters(model: nn.Module) -> tuple[dict[str, Held], dict[str, str]]:
    """This process's part of every parameter, as `named_parameters` names them.

    Raises:
        PlanError: if a parameter is spread in a way that is not known.
    """
    flat: dict[str, Held] = {}
    shared: dict[str, str] = {}
    inside: set[int] = set()  # what is in flat parameters, and they themselves
    prefixes = {id(module): prefix for prefix, module in named_modules(model)}
    for module in model.modules():
        if _is(module, "FullyShardedDataParallel"):
            inside.update(map(id, _flattened(module)))
            flat.update(_flat(module, prefixes))
            shared.update(_shared(module, prefixes))
    named, aliases = named_parameters(model)
    plain = {name: held(name, p) for name, p in named.items() if id(p) not in inside}
    others = {name: first for name, first in aliases.items() if first in plain}
    return plain | flat, others | shared


def held(name: str, tensor: torch.Tensor) -> Held:
    """This process's part of one tensor.

    Raises:
        PlanError: if it is a fake tensor, or sharded in a way that is not known; `name` is used to
            say so.
    """
    shape = tuple(tensor.shape)
    if is_fake(tensor):
        raise PlanError(f"nothing was changed: parameter {name!r} {FAKE}")
    if type(tensor).__name__ != "DTensor":  # importing the class would be slow
        return Held(tensor, tensor.detach(), Piece.whole(shape), shape)
    sharded: Any = tensor
    mesh = sharded.device_mesh
    with torch.no_grad():
        memory = sharded.to_local()
    at = mesh.get_coordinate()
    if at is None:  # this rank has no part in it
        return Held(tensor, memory, Piece.whole(shape).shard(0, 1, 1), shape)
    piece = Piece.whole(shape)
    parts: list[Any] = []
    copies: list[Any] = []
    for n, placement in enumerate(sharded.placements):
        kind, size = type(placement).__name__, mesh.size(n)
        if kind == "Shard":
            piece = piece.shard(placement.dim % len(shape), size, at[n])
        elif kind == "_StridedShard":
            axis, factor = placement.dim % len(shape), placement.split_factor
            piece = piece.strided_shard(axis, size, at[n], factor)
        elif kind != "Replicate":
            raise PlanError(
                f"nothing was changed: parameter {name!r} is a DTensor placed as {placement}; "
                "expected Replicate or Shard on each dimension of its mesh: parameters are not sums "
                "of parts"
            )
        if size > 1:
            (copies if kind == "Replicate" else parts).append(mesh.get_group(n))
    if piece.held != tuple(memory.shape) and math.prod(piece.held) + memory.numel() > 0:
        raise PlanError(
            f"nothing was changed: parameter {name!r} of shape {shape} is a DTensor placed as "
            f"{sharded.placements} on a mesh of {tuple(mesh.shape)}, where this rank should hold "
            f"{piece.held} and holds {tuple(memory.shape)}: how it is cut is not known here"
        )
    return Held(tensor, memory, piece, shape, tuple(parts), tuple(copies))


def write_part(part: Held, value: torch.Tensor) -> None:
    """Write what this process holds of a whole tensor, given the whole."""
    with torch.no_grad():
        rows = value.to(part.memory.device, part.dtype).reshape(-1)
        first, last = part.piece.rows
        part.piece.take(rows[first:last], part.memory)


def groups_of(model: nn.Module, parts: Iterable[Held]) -> list[Any]:
    """The groups of ranks that hold the same model, in an order that is the same on all of them."""
    shared = [group for part in parts for group in (*part.parts, *part.copies)]
    return list({id(group): group for group in copies_of(model) + shared}.values())


def copies_of(model: nn.Module) -> list[Any]:
    """The groups of ranks that each hold a copy of a part of the model: those of DDP."""
    return [m.process_group for m in model.modules() if _is(m, "DistributedDataParallel")]


def _is(module: nn.Module, name: str) -> bool:
    """Whether it is one of torch's wrappers, which are not imported to find out."""
    return any(
        c.__name__ == name and c.__module__.startswith("torch.") for c in type(module).__mro__
    )


def _flattened(module: Any) -> list[Any]:
    """The flat parameter of a module, and the tensors by which it shows what is in it."""
    if (handle := module._handle) is None:
        return []
    flat = handle.flat_param
    return [flat, *(flat._params or ()), *(flat._shared_params or ())]


def _flat(module: Any, prefixes: dict[int, str]) -> Iterator[tuple[str, Held]]:
    """The parameters that lie in a module's flat one, one behind another, cut anywhere."""
    if (handle := module._handle) is None:
        return
    flat = handle.flat_param
    memory = flat.detach().view(-1)
    shards = handle.uses_sharded_strategy
    groups = [(module.process_group, shards), (getattr(module, "_inter_node_pg", None), False)]
    shared = [(group, cut) for group, cut in groups if group is not None and group.size() > 1]
    parts = tuple(group for group, cut in shared if cut)
    copies = tuple(group for group, cut in shared if not cut)
    facts = zip(
        flat._param_infos, flat._shapes, flat._shard_param_infos, flat._contiguities, strict=True
    )
    for info, shape, part, contiguous in facts:
        name = prefixes[id(info.module)] + info.param_name
        if not contiguous:
            raise PlanError(
                f"nothing was changed: parameter {name!r} was not contiguous when it was made part of "
                "a flat parameter; make the model contiguous before it is wrapped"
            )
        first, count = part.intra_param_start_idx or 0, part.numel_in_shard or 0
        at = part.offset_in_shard or 0
        piece = Piece.run(first, count)
        yield name, Held(flat, memory[at : at + count], piece, tuple(shape), parts, copies)


def _shared(module: Any, prefixes: dict[int, str]) -> Iterator[tuple[str, str]]:
    if module._handle is not None:
        for info in module._handle.flat_param._shared_param_infos:
            first = prefixes[id(info.prim_module)] + info.prim_param_name
            yield prefixes[id(info.module)] + info.param_name, first
