"""`deferred`: models are built without the random fills that a plan would write over.

A constructor's fill is not dropped but postponed: it is noted beside the parameter and runs only if
something reads the parameter before something else is written over all of it. So whatever a
constructor computes is true, and the fills that nothing needs cost nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode
from torch.utils.weak import TensorWeakRef

from isoinit._reading.torch.trees import tensors_in
from isoinit._system.private import storage_key, storage_use_count
from isoinit._system.signals import check_signals, postponed
from isoinit._writing.postponed import Write, end_of, forget, remember, writes_left
from isoinit._writing.torch_init import asking_first

# Fills with random values: methods of a tensor, and functions of `torch.nn.init`.
DRAWS = frozenset(
    "normal_ uniform_ random_ exponential_ log_normal_ cauchy_ geometric_ bernoulli_".split()
)
RANDOM = DRAWS | frozenset(
    """xavier_normal_ xavier_uniform_ kaiming_normal_ kaiming_uniform_ trunc_normal_ orthogonal_
    sparse_ draw_""".split()
)
# Writes that need nothing but the old values and numbers: they queue behind a postponed fill.
ARITHMETIC = frozenset(
    """fill_ zero_ constant_ mul_ div_ add_ sub_ clamp_ clamp_min_ clamp_max_ neg_ abs_ exp_ log_ sqrt_
    rsqrt_ pow_ erf_ erfinv_ tanh_ sigmoid_ __setitem__ __imul__ __itruediv__ __idiv__ __iadd__
    __isub__""".split()
)
# Writes that leave nothing of the old values.
OVERWRITES = frozenset("fill_ zero_ constant_ zeros_ ones_ eye_ dirac_ fix_ copy_".split())
# What reads no values: views of the same memory, and facts about it. All else counts as reading.
BLIND = frozenset(
    """__get__ __set__ __hash__ __len__ view detach detach_ t t_ transpose transpose_ permute narrow
    select chunk split unbind unsqueeze unsqueeze_ squeeze squeeze_ expand movedim swapaxes diagonal
    as_strided size dim ndimension numel nelement stride storage_offset element_size get_device
    is_contiguous is_floating_point is_complex untyped_storage requires_grad_ new_empty new_zeros
    new_ones new_full empty_like zeros_like ones_like full_like rand_like randn_like""".split()
)


@dataclass
class Queue:
    """The postponed writes of one storage, in order; it keeps the storage alive."""

    storage: torch.UntypedStorage
    dtype: torch.dtype
    writes: list[Write] = field(default_factory=list)

    def run(self) -> None:
        """Write what was postponed."""
        memory = torch.empty(0, dtype=self.dtype, device=self.storage.device)
        with torch.no_grad():
            for write in self.writes:
                region = memory.new_empty(0).set_(
                    self.storage, write.offset, write.size, write.stride
                )
                write.function(region, *write.args, **write.kwargs)


_here = threading.local()  # `mode`: the block that this thread is inside


@contextmanager
def deferred() -> Iterator[None]:
    """Return a context in which constructors skip their random fills, for a plan to fill later.

    It works for any constructor, hand-written or from a library. In the block, random fills of
    parameters (`torch.nn.init`, `Tensor.normal_` and similar calls) are postponed. Buffers and other
    tensors get their values, and so do parameters that are set to constants or from given data. A
    postponed fill runs at once if code in the block reads the parameter. `isoinit.init` or
    `Plan.apply` then fills the parameters that have an initializer in the plan, and runs the
    postponed fills of all others.

    Before a plan is applied, a parameter with a postponed fill holds arbitrary memory, and
    `isoinit.check` raises an error. Use the block only for models that a plan will fill. Cast and
    move a model after the block: in the block this reads the parameters and runs the fills. Copy and
    save it after the plan is applied: an earlier copy has no postponed fills. A nested block has no
    further effect.

    Example:
        >>> import isoinit, torch
        >>> with isoinit.deferred():
        ...     model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(2))
        >>> model[1].running_var
        tensor([1., 1.])
        >>> _ = isoinit.init(model, torch.zeros(3, 4), seed=0)
    """
    if is_deferring():
        yield
        return
    with postponed():
        mode = _here.mode = _Postponer()
        hook = register_module_parameter_registration_hook(_note_registered)
        try:
            with asking_first(), mode:
                yield
        finally:
            hook.remove()
            _here.mode = None
            mode.leave()


def is_deferring() -> bool:
    """Whether this thread is inside a block of `deferred`."""
    return getattr(_here, "mode", None) is not None


class _Postponer(TorchFunctionMode):
    """Sees every torch call inside the block. Memory is known by its storage, so views are too."""

    def __init__(self) -> None:
        super().__init__()
        self._owners: dict[int, list[TensorWeakRef]] = {}
        self._queues: dict[int, Queue] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [t for t in tensors_in((args, kwargs)) if _is_plain(t)]
        for tensor in tensors:
            if isinstance(tensor, nn.Parameter):
                self.note(tensor)
        if not tensors:
            return func(*args, **kwargs)
        check_signals()  # not where grad mode or the like is switched: it would stay so
        name = getattr(func, "__name__", "")
        target = args[0] if args else kwargs.get("tensor")
        if target is tensors[0] and len(tensors) == 1 and self._postpone(name, func, args, kwargs):
            return None if name == "__setitem__" else target
        if name in OVERWRITES and target is tensors[0] and _is_whole(target):
            for tensor in tensors[1:]:
                self._settle(tensor)
            self._queues.pop(_key(target), None)
        elif name not in BLIND and not (name == "__getitem__" and _is_basic(args[1])):
            for tensor in tensors:
                self._settle(tensor)
        return func(*args, **kwargs)

    def note(self, parameter: nn.Parameter) -> None:
        """Remember whose memory this is; take over what an earlier block left postponed."""
        if not _is_plain(parameter):
            return
        storage = parameter.untyped_storage()
        key = storage_key(parameter)
        known = self._owners.setdefault(key, [])
        if any(ref() is parameter for ref in known):
            return
        known.append(TensorWeakRef(parameter))
        if writes := writes_left(parameter):
            forget([parameter])
            start = int(parameter.storage_offset())
            queue = Queue(storage, parameter.dtype, [write.moved(start) for write in writes])
            self._queues.setdefault(key, queue)

    def leave(self) -> None:
        """Hand what is still postponed to the parameters that are still there."""
        for key, queue in self._queues.items():
            owners = self._owners_of(key)
            for owner in owners:
                start = int(owner.storage_offset())
                end = end_of(owner.shape, owner.stride(), start)
                writes = [
                    w.moved(-start) for w in queue.writes if start <= w.offset and w.end <= end
                ]
                remember(owner, writes)
            if not owners and storage_use_count(key) > 1:
                queue.run()  # a tensor that is no parameter took over the memory of one
        self._queues.clear()
        self._owners.clear()

    def _postpone(
        self, name: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> bool:
        """Put a write into the queue, if it is one that can wait."""
        if name not in RANDOM and name not in ARITHMETIC:
            return False
        kwargs = dict(kwargs)
        target = args[0] if args else kwargs.pop("tensor")
        key, whole = _key(target), _is_whole(target)
        if name in RANDOM:
            if not self._is_parameters(target):
                return False
            if whole:
                self._queues.pop(key, None)
        else:
            final = whole and name in OVERWRITES
            copied = name == "__setitem__" and not _is_basic(args[1])
            if key not in self._queues or final or copied:
                return False
        queue = self._queues.setdefault(key, Queue(target.untyped_storage(), target.dtype))
        size, stride = tuple(target.shape), tuple(target.stride())
        queue.writes.append(
            Write(func, size, stride, target.storage_offset(), tuple(args[1:]), kwargs)
        )
        return True

    def _settle(self, tensor: torch.Tensor) -> None:
        """Run what was postponed for a tensor's memory: it is about to be read."""
        if queue := self._queues.pop(_key(tensor), None):
            queue.run()

    def _is_parameters(self, tensor: torch.Tensor) -> bool:
        """Whether it is, or lies in, the memory of a parameter that a plan can fill."""
        owners = self._owners_of(_key(tensor)) if tensor.numel() else []
        return tensor.is_floating_point() and any(p.dtype == tensor.dtype for p in owners)

    def _owners_of(self, key: int) -> list[torch.Tensor]:
        alive = [p for ref in self._owners.get(key, []) if (p := ref()) is not None]
        return [p for p in alive if _is_plain(p) and _key(p) == key]


def _note_registered(_module: nn.Module, _name: str, parameter: Any) -> None:
    mode = getattr(_here, "mode", None)
    if mode is not None and isinstance(parameter, nn.Parameter):
        mode.note(parameter)


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether it has memory of its own that `set_` and strides describe; others are left alone."""
    return (
        type(tensor) in (torch.Tensor, nn.Parameter)
        and tensor.layout == torch.strided
        and not tensor.is_meta
    )


def _key(tensor: torch.Tensor) -> int:
    return storage_key(tensor)


def _is_whole(tensor: torch.Tensor) -> bool:
    return tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()


def _is_basic(index: Any) -> bool:
    """Whether indexing with it gives a view."""
    items = index if isinstance(index, tuple) else (index,)
    return all(
        item is None or item is ... or type(item) is int or isinstance(item, slice)
        for item in items
    )
