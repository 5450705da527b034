"""`fill_slice`: any part of a parameter, for programs that keep its parts in a way of their own."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from isoinit._drawing.shard import Piece
from isoinit._drawing.spans import span_of
from isoinit._drawing.streams import Stream
from isoinit._system.memory import ask_for_huge_pages
from isoinit._writing.seeds import resolve_seed
from isoinit.errors import ArgumentError, PlanError
from isoinit.initializers import Initializer
from isoinit.initializers.scale.fans import Layout, of_tensor

if TYPE_CHECKING:
    import torch

MOST = 2**63 - 1  # elements: torch counts them in 64 bits, and a stream's counter goes no further
T = TypeVar("T", "torch.Tensor", "np.ndarray[Any, Any]")
# uint16: the bits of bfloat16.
FLOATS = (np.float32, np.float64, np.float16, np.uint16, np.complex64, np.complex128)


def fill_slice(
    out: T,
    initializer: Initializer,
    name: str,
    global_shape: Sequence[int],
    slices: slice | Sequence[slice],
    seed: int = 0,
    *,
    layout: Layout | None = None,
) -> T:
    """Fill a tensor with a part of a parameter, with the bits that `Plan.apply` gives this part.

    Use it for engines whose parts are not DTensors: tensor parallel shards (Megatron-LM), runs of a
    flattened parameter (DeepSpeed's ZeRO-3), JAX's `make_array_from_callback`. No part depends on
    another, so nothing is communicated. An initializer that needs the whole matrix draws it and keeps
    the part.

    Args:
        out: the tensor to fill, of the part's shape: a torch tensor on any device, or a NumPy array;
            float32, float64, float16, complex64, complex128 or bfloat16 (in NumPy that of
            `ml_dtypes`, or its bits as uint16).
        initializer: an initializer, such as `plan[name].initializer`.
        name: the parameter's name in the whole model, which decides its random numbers.
        global_shape: the shape of the whole parameter.
        slices: the part: a slice for each axis (missing axes are whole), or one slice of the
            flattened parameter.
        seed: the same seed as for all other parts.
        layout: the meaning of the parameter's axes: `plan[name].layout`. By default that of
            `torch.nn.init`: (out, in, *kernel), or a vector.

    Returns:
        `out`.

    Raises:
        ArgumentError: if an argument is not valid, `out` does not have the part's shape, or the
            initializer does not fit the layout. Nothing was written then.
        PlanError: if `out` cannot hold initial values.

    Example:
        >>> import isoinit, torch
        >>> whole, part = torch.empty(8, 6), torch.empty(4, 3)
        >>> normal, here = isoinit.HeNormal(), (slice(4, 8), slice(0, 3))
        >>> _ = isoinit.fill_slice(whole, normal, "up.weight", (8, 6), (), seed=1)
        >>> _ = isoinit.fill_slice(part, normal, "up.weight", (8, 6), here, seed=1)
        >>> torch.equal(part, whole[here])
        True
    """
    shape = tuple(int(size) for size in global_shape)
    if (count := math.prod(shape)) > MOST:
        raise ArgumentError(
            f"global_shape {shape} has {count:.3g} elements; expected at most 2**63 - 1, the "
            "limit of a tensor"
        )
    flat = isinstance(slices, slice)
    piece = Piece.of((math.prod(shape),), (slices,)) if flat else Piece.of(shape, slices)  # type: ignore[arg-type]
    if not isinstance(initializer, Initializer):
        raise ArgumentError(
            f"initializer is a {type(initializer).__name__}; expected an initializer, such as "
            "HeNormal() or plan[name].initializer"
        )
    layout = layout or of_tensor(shape)
    if layout.shape != shape:
        raise ArgumentError(f"layout has shape {layout.shape}, expected global_shape {shape}")
    if tuple(getattr(out, "shape", ())) != piece.held:
        raise ArgumentError(
            f"out has shape {tuple(out.shape)}, but slices={slices!r} of {shape} have shape "
            f"{piece.held}. Give out this shape"
        )
    stream = Stream(resolve_seed(seed), name)
    if isinstance(out, np.ndarray):
        _fill_array(out, initializer, layout, stream, piece)
    else:
        _fill_tensor(out, initializer, layout, stream, piece)
    return out


def _fill_array(
    array: np.ndarray[Any, Any],
    initializer: Initializer,
    layout: Layout,
    stream: Stream,
    piece: Piece,
) -> None:
    """Fill a NumPy array; bfloat16, which NumPy does not know, by its bits. Needs no framework."""
    if not array.flags.writeable:
        raise ArgumentError("out is read-only; expected a writable NumPy array")
    bits = array.view(np.uint16) if array.dtype.name == "bfloat16" else array
    if bits.dtype not in FLOATS:
        raise PlanError(
            f"nothing was changed: out has dtype {array.dtype}; expected float32, float64, float16, "
            "complex64, complex128, or bfloat16 (of ml_dtypes, or its bits as uint16)"
        )
    if not array.size:
        initializer.std_for(layout)  # refuses a layout that does not fit
        return
    initializer.require_fit(layout, bits.dtype)
    turned = tuple(slice(None, None, -1 if step < 0 else 1) for step in array.strides)
    if not array.flags.c_contiguous and span_of(array[turned]).meets_itself:
        raise PlanError(
            "nothing was changed: elements of out share memory (a view that overlaps itself). "
            "Pass an array with separate elements, such as out.copy()"
        )
    flat = bits.reshape(-1) if bits.flags.c_contiguous else np.empty(bits.size, bits.dtype)
    ask_for_huge_pages(flat.ctypes.data, flat.nbytes)
    initializer.fill_piece(flat, stream, layout, piece)
    if not bits.flags.c_contiguous:
        bits[...] = flat.reshape(bits.shape)


def _fill_tensor(
    tensor: torch.Tensor, initializer: Initializer, layout: Layout, stream: Stream, piece: Piece
) -> None:
    """Fill a torch tensor on any device."""
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it
    if torch is None or not isinstance(tensor, torch.Tensor):
        raise ArgumentError(
            f"out is a {type(tensor).__name__}; expected a torch.Tensor or a writable NumPy array"
        )
    from isoinit._writing.fill import fill_tensor
    from isoinit._writing.refusals import refuse_unfillable

    refuse_unfillable({stream.name: tensor}, now=True)
    initializer.std_for(layout)  # refuses a layout that does not fit; the type is refused below
    fill_tensor(tensor, initializer, layout, stream, piece)
