"""A device "slim" without float64, as Apple's GPUs are: its operations run on the processor.

It stands for torch's device "mps", which only Macs have, in what isoinit must not ask of it. For torch
it is a device: models and batches move there by `.to("slim")`. Call `register` in a process of its
own.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch.utils import backend_registration as backends
from torch.utils._pytree import tree_map_only

NAME = "slim"
ON_PROCESSOR = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
SET = torch.ops.aten.set_.source_Storage_storage_offset
owners: dict[int, torch.UntypedStorage] = {}  # what owns the memory of its tensors, by address
seeds: list[int] = [0]  # the state of its generator


class Slim(getattr(backends, "_DummyBackendModule", object)):  # newer than torch 2.9
    """What `torch.slim` is, with a generator as that of `torch.mps`."""

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.tensor(seeds)

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        seeds[:] = state.tolist()

    def manual_seed(self, seed: int) -> None:
        seeds[:] = [seed]


def refuse(dtype: torch.dtype) -> None:
    """Raise what torch raises on Apple's GPUs for numbers that these have not."""
    if dtype in (torch.float64, torch.complex128):
        raise TypeError(f"Cannot convert a {NAME} Tensor to {dtype}: it has none")


def there(values: torch.Tensor, tensor: torch.Tensor | None = None) -> torch.Tensor:
    """Return a tensor of the device over the memory of one of the processor."""
    refuse(values.dtype)
    memory = values.untyped_storage()
    address, size = memory.data_ptr(), memory.nbytes()
    owners.setdefault(address, memory)
    storage = torch._C._construct_storage_from_data_pointer(address, torch.device(NAME, 0), size)
    if tensor is None:
        tensor = torch._C._acc.create_empty_tensor((0,), values.dtype)
    SET.redispatch(
        ON_PROCESSOR, tensor, storage, values.storage_offset(), values.shape, values.stride()
    )
    return tensor


def here(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the processor over the memory of one of the device."""
    storage = tensor.untyped_storage()
    if not (size := storage.nbytes()):
        return torch.empty(tensor.shape, dtype=tensor.dtype)
    memory = (ctypes.c_char * size).from_address(storage.data_ptr())
    flat = torch.frombuffer(memory, dtype=torch.uint8).untyped_storage()
    place = tensor.storage_offset(), tensor.shape, tensor.stride()
    return torch.empty(0, dtype=tensor.dtype).set_(flat, *place)


def run(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Run an operation of torch on the processor, and give its results to the device."""
    lent: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def lend(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device.type != NAME:
            return tensor
        values = here(tensor)
        lent[id(values)] = values, tensor
        return values

    def returned(value: torch.Tensor) -> torch.Tensor:
        return lent[id(value)][1] if id(value) in lent else there(value) if ours else value

    device = kwargs.get("device")
    args, kwargs = tree_map_only(torch.Tensor, lend, (args, kwargs))
    ours = bool(lent) if device is None else torch.device(device).type == NAME
    if device is not None:
        kwargs["device"] = torch.device("cpu")
    name = op.name()
    if name.startswith("aten::_copy_from"):
        if id(args[0]) in lent:  # Apple's converts before it copies
            refuse(args[1].dtype)
        args[1].copy_(args[0])
        return lent[id(args[1])][1] if id(args[1]) in lent else args[1]
    if name == "aten::_local_scalar_dense":
        return args[0].item()
    result = op(*args, **kwargs)
    for values, tensor in lent.values():  # of which an `out=` may have other memory now
        if values.shape != tensor.shape or values.data_ptr() != tensor.data_ptr():
            there(values, tensor)
    return tree_map_only(torch.Tensor, returned, result)


def register() -> torch.library.Library:
    """Make it a device of torch, for as long as the process lives and what is returned is kept."""
    backends._setup_privateuseone_for_python_backend(NAME, Slim())
    library = torch.library.Library("_", "IMPL")
    library.fallback(run, "PrivateUse1")
    return library
