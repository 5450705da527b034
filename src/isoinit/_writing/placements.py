"""Where the parameters of a model lie, however it is sharded over processes.

Read are DTensors of any placement (tensor parallel, `fully_shard`, expert parallel, on meshes of any
number of dimensions) and the flat parameters of `FullyShardedDataParallel`. Everything else is whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import nn

from isoinit._drawing.shard import Piece
from isoinit._reading.torch.fakes import FAKE, is_fake
from isoinit._reading.torch.memory import address_of, addresses_of
from isoinit._reading.torch.names import Modules, each_parameter, named_modules, parameters_of
from isoinit._system.private import need
from isoinit.errors import PlanError


@dataclass(frozen=True)
class Part:
    """A process's part of a tensor that is sharded.

    Attributes:
        memory: to read and write: of the shape `piece.held`, or flat.
        piece: which part of the whole that is.
        shape: of the whole.
        parts: the process groups whose ranks hold other parts.
        copies: the process groups whose ranks hold the same.
    """

    memory: torch.Tensor
    piece: Piece
    shape: tuple[int, ...]
    parts: tuple[Any, ...] = ()
    copies: tuple[Any, ...] = ()


class Held(NamedTuple):
    """What this process holds of a tensor. A model has thousands: what most need not is made late.

    Attributes:
        tensor: as the model has it: a parameter, plain or sharded.
        part: this process's part; None where it holds all of the tensor.
        address: that of a plain tensor; None of any other: see `memory.address_of`.
        size: the bytes of a plain tensor.
    """

    tensor: torch.Tensor
    part: Part | None = None
    address: int | None = None
    size: int = 0

    @property
    def memory(self) -> torch.Tensor:
        """This process's part, to read and write: of the shape `piece.held`, or flat."""
        return self.tensor.detach() if self.part is None else self.part.memory

    @property
    def place(self) -> torch.Tensor:
        """A tensor that shows where the part lies and what its elements are: it may need gradients."""
        return self.tensor if self.part is None else self.part.memory

    @property
    def piece(self) -> Piece:
        """Which part of the whole that is."""
        return Piece.whole(self.tensor.shape) if self.part is None else self.part.piece

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole."""
        return tuple(self.tensor.shape) if self.part is None else self.part.shape

    @property
    def parts(self) -> tuple[Any, ...]:
        """The process groups whose ranks hold other parts."""
        return () if self.part is None else self.part.parts

    @property
    def copies(self) -> tuple[Any, ...]:
        """The process groups whose ranks hold the same."""
        return () if self.part is None else self.part.copies

    @property
    def dtype(self) -> torch.dtype:
        """The type of the elements."""
        return self.place.dtype


def held_parameters(model: nn.Module) -> tuple[dict[str, Held], dict[str, str]]:
    """This process's part of every parameter, as `named_parameters` names them.

    Raises:
        PlanError: if a parameter is sharded in an unknown way.
    """
    return held_in(named_modules(model))


def held_in(modules: Modules) -> tuple[dict[str, Held], dict[str, str]]:
    """Return the same as `held_parameters`, of a model whose modules are known.

    Raises:
        PlanError: as `held_parameters` does.
    """
    wrappers = _instances(modules, "FullyShardedDataParallel")
    found = each_parameter(modules)
    addresses = addresses_of([parameter for _, parameter in found])
    if not wrappers and None not in addresses and len(set(addresses)) == len(addresses):
        names, parameters = zip(*found, strict=True) if found else ((), ())  # in most models
        made = partial(tuple.__new__, Held)  # without a call of Python for each
        sizes = map(attrgetter("nbytes"), parameters)
        parts = map(made, zip(parameters, repeat(None), addresses, sizes, strict=False))
        return dict(zip(names, parts, strict=True)), {}
    flat: dict[str, Held] = {}
    shared: dict[str, str] = {}
    inside: set[int] = set()  # what is in flat parameters, and they themselves
    prefixes = {id(module): prefix for prefix, module in modules}
    for module in wrappers:
        inside.update(map(id, _flattened(module)))
        flat.update(_flat(module, prefixes))
        shared.update(_shared(module, prefixes))
    named, aliases = parameters_of(modules)
    plain = {name: held(name, p) for name, p in named.items() if id(p) not in inside}
    others = {name: first for name, first in aliases.items() if first in plain}
    return plain | flat, others | shared


def held(name: str, tensor: torch.Tensor) -> Held:
    """This process's part of one tensor.

    Raises:
        PlanError: if it is a fake tensor, or sharded in a way that is not known; `name` is used to
            say so.
    """
    if is_fake(tensor):
        raise PlanError(f"nothing was changed: parameter {name!r} {FAKE}")
    if type(tensor).__name__ != "DTensor":  # importing the class would be slow
        address = address_of(tensor)
        return Held(tensor, None, address, 0 if address is None else tensor.nbytes)
    sharded: Any = tensor
    shape = tuple(tensor.shape)
    mesh = sharded.device_mesh
    with torch.no_grad():
        memory = sharded.to_local()
    at = mesh.get_coordinate()
    if at is None:  # this rank has no part in it
        return Held(tensor, Part(memory, Piece.whole(shape).shard(0, 1, 1), shape))
    piece = Piece.whole(shape)
    parts: list[Any] = []
    copies: list[Any] = []
    for n, placement in enumerate(sharded.placements):
        kind, size = type(placement).__name__, mesh.size(n)
        if kind == "Shard":
            piece = piece.shard(placement.dim % len(shape), size, at[n])
        elif kind == "_StridedShard":
            need("strided shards")
            axis, factor = placement.dim % len(shape), placement.split_factor
            piece = piece.strided_shard(axis, size, at[n], factor)
        elif kind != "Replicate":
            raise PlanError(
                f"nothing was changed: parameter {name!r} is a DTensor placed as {placement}; "
                "expected Replicate or Shard on each dimension of its mesh"
            )
        if size > 1:
            (copies if kind == "Replicate" else parts).append(mesh.get_group(n))
    if piece.held != tuple(memory.shape) and math.prod(piece.held) + memory.numel() > 0:
        raise PlanError(
            f"nothing was changed: parameter {name!r} of shape {shape} is a DTensor placed as "
            f"{sharded.placements} on a mesh of {tuple(mesh.shape)}. This rank should hold shape "
            f"{piece.held}, but it holds {tuple(memory.shape)}. isoinit cannot tell which part "
            "this is"
        )
    return Held(tensor, Part(memory, piece, shape, tuple(parts), tuple(copies)))


def write_part(part: Held, value: torch.Tensor) -> None:
    """Write what this process holds of a whole tensor, given the whole."""
    with torch.no_grad():
        rows = value.to(part.memory.device, part.dtype).reshape(-1)
        first, last = part.piece.rows
        part.piece.take(rows[first:last], part.memory)


def groups_of(modules: Modules, parts: Iterable[Held]) -> list[Any]:
    """The groups of ranks that hold the same model, in an order that is the same on all of them."""
    own = [part.part for part in parts if part.part is not None]
    shared = [group for part in own for group in (*part.parts, *part.copies)]
    return list({id(group): group for group in copies_of(modules) + shared}.values())


def copies_of(modules: Modules) -> list[Any]:
    """The groups of ranks that each hold a copy of a part of the model: those of DDP."""
    return [m.process_group for m in _instances(modules, "DistributedDataParallel")]


def _instances(modules: Modules, name: str) -> list[Any]:
    """Return the modules that are one of torch's wrappers, which are not imported to find out."""
    kinds = {
        kind
        for kind in modules.kinds
        if any(c.__name__ == name and c.__module__.startswith("torch.") for c in kind.__mro__)
    }
    found = {id(module): module for _, module in modules if type(module) in kinds} if kinds else {}
    return list(found.values())


def _flattened(module: Any) -> list[Any]:
    """The flat parameter of a module, and the tensors by which it shows what is in it."""
    if (handle := module._handle) is None:
        return []
    need("flat parameters")
    flat = handle.flat_param
    return [flat, *(flat._params or ()), *(flat._shared_params or ())]


def _flat(module: Any, prefixes: dict[int, str]) -> Iterator[tuple[str, Held]]:
    """The parameters that lie in a module's flat one, one behind another, cut anywhere."""
    if (handle := module._handle) is None:
        return
    need("flat parameters")
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
                f"nothing was changed: parameter {name!r} was not contiguous when "
                "FullyShardedDataParallel flattened it. Make it contiguous before you wrap the "
                "model"
            )
        first, count = part.intra_param_start_idx or 0, part.numel_in_shard or 0
        at = part.offset_in_shard or 0
        piece = Piece.run(first, count)
        yield name, Held(flat, Part(memory[at : at + count], piece, tuple(shape), parts, copies))


def _shared(module: Any, prefixes: dict[int, str]) -> Iterator[tuple[str, str]]:
    if module._handle is not None:
        for info in module._handle.flat_param._shared_param_infos:
            first = prefixes[id(info.prim_module)] + info.prim_param_name
            yield prefixes[id(info.module)] + info.param_name, first
