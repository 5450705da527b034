"""What is still postponed for a parameter once the block of `deferred` is over, and running it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from isoinit._drawing.streams import Stream

# The writes, and the parameter's version when they were left. A parameter written in place since then
# has another version, and its values are kept.
_left: Any = WeakTensorKeyDictionary()
_lock = threading.RLock()


@dataclass(frozen=True)
class Write:
    """One postponed write, into a region of a parameter's memory."""

    function: Callable[..., Any]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def end(self) -> int:
        """One past the last element of the region."""
        return end_of(self.size, self.stride, self.offset)

    def moved(self, by: int) -> Write:
        """Return the same write at another place."""
        return replace(self, offset=self.offset + by)


def end_of(size: Sequence[int], stride: Sequence[int], offset: int) -> int:
    """Return one past the last element of a region."""
    return offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))


def remember(parameter: torch.Tensor, writes: list[Write]) -> None:
    """Note writes that stay postponed for a parameter, in order."""
    with _lock:
        _left[parameter] = (writes, parameter._version)


def postpone(parameter: torch.Tensor, function: Callable[[torch.Tensor], Any]) -> None:
    """Postpone a write over the whole of a parameter: it runs if something reads the parameter."""
    write = Write(function, tuple(parameter.shape), tuple(parameter.stride()), 0, (), {})
    remember(parameter, [write])


def writes_left(parameter: torch.Tensor) -> list[Write]:
    """What is still postponed for a parameter, in order; nothing if it was written since then."""
    with _lock:
        writes, version = _left.get(parameter, ([], 0))
    return writes if writes and version == parameter._version else []


def forget(parameters: Iterable[torch.Tensor]) -> None:
    """Drop what was postponed for parameters, for they have been filled."""
    with _lock:
        for parameter in parameters if _left else ():
            _left.pop(parameter, None)


def unfilled(parameters: Mapping[str, torch.Tensor]) -> list[str]:
    """The names of the parameters that `deferred` left to a plan and that nothing has filled."""
    return [name for name, parameter in parameters.items() if writes_left(parameter)]


def run_postponed(parameter: torch.Tensor, stream: Stream) -> None:
    """Give a parameter what its constructor would have, if that was postponed.

    torch's generators are seeded from the stream for that, and put back.
    """
    writes = writes_left(parameter)
    forget([parameter])
    _run(writes, parameter, stream)


def as_constructed(parameter: torch.Tensor, stream: Stream) -> torch.Tensor:
    """What `run_postponed` would make of a parameter, which stays as it is.

    Returns:
        The parameter itself if nothing was postponed; else memory of its own.
    """
    writes = writes_left(parameter)
    if not writes:
        return parameter
    twin = torch.empty_strided(
        parameter.size(), parameter.stride(), dtype=parameter.dtype, device=parameter.device
    ).copy_(parameter.detach())
    _run(writes, twin, stream)
    return twin


def _run(writes: Sequence[Write], tensor: torch.Tensor, stream: Stream) -> None:
    """Run postponed writes on a tensor, with torch's generators seeded from the stream."""
    if not writes:
        return
    low, high = (int(word) for word in stream.child("postponed fill").words(0, 2))
    seed = low | (high & 0x7FFFFFFF) << 32
    # An accelerator has generators of its own.
    there = tensor.device.type not in ("cpu", "meta")
    devices, kind = ([tensor.device], tensor.device.type) if there else ([], "cuda")
    with torch.random.fork_rng(devices, device_type=kind), torch.no_grad():
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every device
        if tensor.is_cuda:
            with torch.cuda.device(tensor.device):
                torch.cuda.manual_seed(seed)
        elif there:
            torch.get_device_module(kind).manual_seed(seed)
        for write in writes:
            offset = tensor.storage_offset() + write.offset
            region = tensor.as_strided(write.size, write.stride, offset)
            write.function(region, *write.args, **write.kwargs)
