"""Writes initial values into a model's parameters.

Each parameter is filled from a stream keyed by the seed and its name, straight into its memory where
it has a plain layout, so that the values depend on nothing else: not on the order of the layers, the
number of threads, or the wrappers around the model.
"""

from __future__ import annotations

import functools
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream, laws
from isoinit._drawing.streams.laws import dtype_named
from isoinit._drawing.streams.philox import Jobs, Law, key_words
from isoinit._drawing.streams.stream import fill_together, keys
from isoinit._reading.torch.memory import OWN
from isoinit._system.memory import ask_for_huge_pages
from isoinit._writing.entry import Entry
from isoinit._writing.placements import Held
from isoinit.errors import IsoinitWarning, PlanError
from isoinit.initializers import Initializer
from isoinit.initializers.scale.fans import Layout

# The types that can be filled, and their arrays': bfloat16 is handled as its bits.
ARRAYS: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.float16: np.dtype(np.float16),
    torch.bfloat16: np.dtype(np.uint16),
    torch.complex64: np.dtype(np.complex64),
    torch.complex128: np.dtype(np.complex128),
}
_LAUNCHES = 256  # runs that are drawn one by one on a device
_ROWS = 2**25  # elements that are drawn there to cut a part out of
_SMALL = 400_000  # bytes; above, what a call costs does not show


def fill_tensors(
    entries: Mapping[str, Entry],
    held: Mapping[str, Held],
    seed: int,
    filled: Callable[[Sequence[str], Sequence[torch.Tensor]], None],
) -> None:
    """Fill parameters; many small ones with one call of a kernel, which saves most of its cost.

    Args:
        entries: of the parameters to fill, by name, all with an initializer.
        held: what this process holds of them, of the shapes and types that their entries tell.
        seed: what the values follow from.
        filled: called with those that are filled: their names, and what a model has under these.
    """
    # Small ones by their type, each with all that is needed of it: it is looked at once.
    together: dict[str, list[tuple[str, str, Law, int, int, torch.Tensor]]] = defaultdict(list)
    for name, entry in entries.items():
        law, (tensor, part, address, size) = entry.law, held[name]
        small = size <= _SMALL and entry.layout.padding is None
        if law is not None and address is not None and small:
            together[entry.dtype].append((name, entry.key, law, address, size, tensor))
            continue
        assert entry.initializer is not None
        piece = None if part is None else part.piece
        stream = Stream(seed, entry.key)
        fill_tensor(held[name].place, entry.initializer, entry.layout, stream, piece)
        filled([name], [tensor])
    for dtype, rows in together.items():
        array = dtype_named(dtype)
        assert array is not None, "others have no distribution for each element"
        names, keyed, drawn, addresses, sizes, tensors = zip(*rows, strict=True)
        elements = [size // array.itemsize for size in sizes]
        fill_together(Jobs(keys(seed, keyed), drawn, addresses, elements), array)
        # They were written behind autograd's back.
        torch.autograd.graph.increment_version(tensors)
        filled(names, tensors)


def fill_tensor(
    tensor: torch.Tensor,
    initializer: Initializer,
    layout: Layout,
    stream: Stream,
    piece: Piece | None = None,
) -> None:
    """Fill one tensor in place, of any strides, on any device.

    Args:
        tensor: of a type in `ARRAYS`; what this process holds of a parameter.
        initializer: what to fill it with.
        layout: what the whole parameter's axes mean.
        stream: its random numbers.
        piece: which part of the parameter the tensor is; None for all of it.
    """
    piece = piece or Piece.whole(layout.shape)
    there = type(tensor) in OWN and not tensor.is_complex() and _draws_on(tensor.device)
    law = initializer.law(layout, ARRAYS[tensor.dtype]) if there else None
    home = torch.device("cpu") if law is None else tensor.device
    plain = tensor.device == home and _is_in_order(tensor)
    target = (
        tensor.detach() if plain else torch.empty(tensor.shape, dtype=tensor.dtype, device=home)
    )
    if target.numel():
        if law is None:
            ask_for_huge_pages(target.data_ptr(), target.nbytes)
            initializer.fill_piece(as_array(target), stream, layout, piece)
        else:
            draw_piece(functools.partial(_draw_there, law, stream), target, piece)
            for some in layout.padded(piece):
                target.view(-1)[some] = 0
    if plain:  # written behind autograd's back, which must know all the same
        torch.autograd.graph.increment_version(tensor)
    else:
        with torch.no_grad():
            tensor.copy_(target)


def draw_piece(
    draw: Callable[[torch.Tensor, int], None], target: torch.Tensor, piece: Piece
) -> None:
    """Fill a part of a tensor where only runs of elements can be drawn.

    Few long runs are drawn in their place; of many short ones whole rows are drawn, as many at once
    as take little memory, and the part is cut out of them.

    Args:
        draw: fills a flat tensor with the elements of the whole from an index on.
        target: contiguous: the part.
        piece: which part.
    """
    firsts, lengths = next(piece.runs())
    if len(firsts) <= _LAUNCHES:
        done = 0
        for first, length in zip(firsts.tolist(), lengths.tolist(), strict=True):
            draw(target.view(-1)[done : done + length], first)
            done += length
        return
    done = 0
    for some in piece.bands(_ROWS):
        first, last = some.rows
        rows = target.new_empty(last - first)
        draw(rows, first)
        size = some.held[0]
        some.take(rows, target.view(piece.held)[done : done + size])
        done += size


def _draw_there(law: Law, stream: Stream, flat: torch.Tensor, start: int) -> None:
    """Draw on the tensor's own device, elements from `start` on."""
    from isoinit._drawing.streams import triton  # loading it is slow

    with torch.cuda.device_of(flat):
        triton.fill(key_words(stream.key()), law, flat, start)


@lru_cache(maxsize=64)
def _draws_on(device: torch.device) -> bool:
    """Whether random numbers can be made on this device, not the processor: one is, to see."""
    if device.type != "cuda":
        return False
    try:
        import_module("isoinit._drawing.streams.triton")
        one = torch.empty(1, device=device)
        _draw_there(laws.normal(0.0, 1.0, np.dtype(np.float32)), Stream(0, "rehearsal"), one, 0)
    except ImportError:  # no Triton
        return False
    except Exception as error:  # whatever it is, the processor makes the same numbers
        warnings.warn(
            f"Triton does not run on {device} ({type(error).__name__}: {error}): parameters on "
            "this device are filled on the CPU and copied, which is slower. Triton needs a C "
            "compiler and a supported GPU",
            IsoinitWarning,
            stacklevel=4,
        )
        return False
    return True


def _is_in_order(tensor: torch.Tensor) -> bool:
    """Whether its memory holds its values in order: not strided, and no conjugate or negative view."""
    own = type(tensor) in OWN and tensor.is_contiguous()
    return own and not tensor.is_conj() and not tensor.is_neg()


def array_type(dtype: torch.dtype) -> np.dtype[Any]:
    """The type of the array that `as_array` gives.

    Raises:
        PlanError: if it is none that can hold initial values.
    """
    if dtype not in ARRAYS:
        raise PlanError(f"{dtype} is not a supported dtype; expected one of {list(ARRAYS)}")
    return ARRAYS[dtype]


def as_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """The tensor's memory as a flat array; of types that NumPy lacks as the bits: uint16, uint8."""
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    if not _is_known_to_numpy(tensor.dtype):
        size = tensor.dtype.itemsize
        bits = tensor.view({1: torch.uint8, 2: torch.int16, 4: torch.int32}[size])
        return bits.numpy().reshape(-1).view(f"u{size}")
    return tensor.resolve_conj().resolve_neg().numpy().reshape(-1)


@lru_cache
def _is_known_to_numpy(dtype: torch.dtype) -> bool:
    try:
        torch.empty(0, dtype=dtype, device="cpu").numpy()
    except TypeError:  # bfloat16, float8
        return False
    return True
