"""Small trials of what `private` hands out: each gets torch's object, and says whether it works.

They run in a thread of their own, outside of the caller's modes, and take under 5 ms. None enters a
dispatch mode or vmap, at whose first use torch loads its compiler, which takes seconds: the tests do.
`MEMBERS` lists the attributes of torch's public classes that begin with an underscore and are read
where they are met.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from inspect import signature
from typing import Any, Final, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class Members(NamedTuple):
    """What has the attributes, what they are called, and what isoinit needs them for."""

    owner: Callable[[], Any]
    names: str
    use: str


MEMBERS: Final = {
    "tensors": Members(
        lambda: torch.Tensor, "_version _base _values _post_accumulate_grad_hooks", "every model"
    ),
    "storages": Members(lambda: torch.UntypedStorage(), "_cdata", "every model"),
    "modules": Members(
        nn.Module,
        """_parameters _buffers _modules _non_persistent_buffers_set _forward_hooks
        _forward_pre_hooks _forward_hooks_always_called""",
        "every model",
    ),
    "layers": Members(
        lambda: vars(nn.modules.conv) | vars(nn.modules.batchnorm) | vars(nn.modules.dropout),
        "_ConvNd _NormBase _BatchNorm _DropoutNd",
        "telling kinds of layers",
    ),
    "convolutions": Members(lambda: nn.Conv2d, "_conv_forward", "isoinit.variational"),
    "recurrent layers": Members(
        lambda: nn.RNN(1, 1, device="meta"),  # draws nothing
        "_flat_weights _flat_weights_names _init_flat_weights",
        "isoinit.variational",
    ),
    "parametrizations": Members(
        lambda: import_module("torch.nn.utils.parametrize"),
        "_cache _cache_enabled",
        "parametrized weights",
    ),
    "strided shards": Members(
        lambda: import_module("torch.distributed.tensor.placement_types")._StridedShard(
            0, split_factor=2
        ),
        "dim split_factor",
        "models that are sharded twice along one axis",
    ),
    "flat parameters": Members(
        lambda: import_module("torch.distributed.fsdp._flat_param").FlatParameter.__annotations__,
        """_params _shared_params _param_infos _shapes _shard_param_infos _contiguities
        _shared_param_infos""",
        "FullyShardedDataParallel",
    ),
}


def fault_of(name: str) -> str:
    """Return what is missing of `MEMBERS`; "" if nothing is."""
    members = MEMBERS[name]
    try:
        owner = members.owner()
    except (ImportError, AttributeError, TypeError) as error:
        return f"other {name} ({error})"
    has = (
        owner
        if isinstance(owner, dict)
        else {n for n in members.names.split() if hasattr(owner, n)}
    )
    missing = [each for each in members.names.split() if each not in has]
    return f"{name} without {' and '.join(missing)}" if missing else ""


class _Seen(TorchFunctionMode):
    """Counts the calls that it sees."""

    calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


def FakeTensor(kind: Any) -> bool:  # noqa: N802 - the name of what it tries
    """Whether one is made of a mode, a form and a device."""
    made = [*signature(kind.__new__).parameters]
    return issubclass(kind, torch.Tensor) and made[2:4] == ["elem", "device"]


def unset_fake_temporarily(leave: Any) -> bool:
    """Whether it is a context, also where nothing is fake."""
    with leave():
        return type(torch.empty(0, device="cpu")) is torch.Tensor


def TorchDispatchMode(kind: Any) -> bool:  # noqa: N802
    """Whether it is entered, and sees operations."""
    return hasattr(kind, "__enter__") and hasattr(kind, "__torch_dispatch__")


def is_traceable_wrapper_subclass(of: Any) -> bool:
    """Whether a plain tensor is none."""
    return not of(torch.empty(0, device="cpu"))


def OpOverload(kind: Any) -> bool:  # noqa: N802
    """Whether a form of an operation is one, with its schema."""
    form = torch.ops.aten.add.Tensor
    return isinstance(form, kind) and form._schema.arguments[0].name == "self"


def OpOverloadPacket(kind: Any) -> bool:  # noqa: N802
    """Whether an operation is one."""
    return isinstance(torch.ops.aten.add, kind)


def tree_map(map_: Any) -> bool:
    """Whether it maps what a tree holds, and keeps the tree."""
    return bool(map_(lambda x: 2 * x, {"a": [1, (2,)]}) == {"a": [2, (4,)]})


def DisableTorchFunction(block: Any) -> bool:  # noqa: N802
    """Whether a mode sees nothing inside of it."""
    return _calls(block()) == 0


def EnableTorchFunction(block: Any) -> bool:  # noqa: N802
    """Whether a mode sees calls again inside of it."""
    with torch._C.DisableTorchFunction():
        return _calls(block()) == 1


def is_torch_function_enabled(is_enabled: Any) -> bool:
    """Whether it tells."""
    with torch._C.DisableTorchFunctionSubclass():
        inside = is_enabled()
    return bool(is_enabled() and not inside)


def is_torch_function_all_disabled(is_disabled: Any) -> bool:
    """Whether it tells."""
    with torch._C.DisableTorchFunction():
        inside = is_disabled()
    return bool(inside and not is_disabled())


def _calls(block: AbstractContextManager[Any]) -> int:
    one = torch.ones(2, device="cpu")
    with _Seen() as mode, block:
        one.add(one)
    return int(mode.calls)


def len_torch_function_stack(length: Any) -> bool:
    """Whether it counts."""
    with _Seen():
        inside = length()
    return (length(), inside) == (0, 1)


def len_torch_dispatch_stack(length: Any) -> bool:
    """Whether there is none here."""
    return bool(length() == 0)


def get_dispatch_mode(get: Any) -> bool:
    """Whether there is none here."""
    return get(torch._C._TorchDispatchModeKey.FAKE) is None


def peek_interpreter_stack(peek: Any) -> bool:
    """Whether there is none here."""
    return peek() is None


def is_functorch_wrapped_tensor(is_wrapped: Any) -> bool:
    """Whether a plain tensor is none."""
    return not is_wrapped(torch.empty(0, device="cpu"))


def are_functorch_transforms_active(are_active: Any) -> bool:
    """Whether there are none here."""
    return not are_active()


def get_eval_frame_callback(get: Any) -> bool:
    """Whether nothing is compiled here."""
    return get() in (None, False)


def is_fx_symbolic_tracing(is_tracing: Any) -> bool:
    """Whether nothing is traced here."""
    return is_tracing() is False


def current_graph_task_id(task: Any) -> bool:
    """Whether it is -1 but in a backward pass."""
    said = []
    one = torch.ones(1, device="cpu", requires_grad=True)
    product = 2 * one
    product.register_hook(lambda _: said.append(task()))
    product.sum().backward()
    return bool(task() == -1 and said[0] >= 0)


def top_saved_tensors_default_hooks(top: Any) -> bool:
    """Whether it tells whether there are any."""
    with torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):
        inside = top(True)
    return top(True) is None and inside is not None


def storage_use_count(count: Any) -> bool:
    """Whether each tensor on a storage counts."""
    one = torch.empty(2, device="cpu")
    storage = one.untyped_storage()
    alone = count(storage._cdata)
    view = one.view(1, 2)
    both = count(storage._cdata)
    del one, view
    return (alone, both, count(storage._cdata)) == (2, 3, 1)


def WeightNorm(kind: Any) -> bool:  # noqa: N802
    """Whether it is a parametrization."""
    return issubclass(kind, nn.Module) and hasattr(kind, "right_inverse")


def rebuild_tensor(rebuild: Any) -> bool:
    """Whether it makes a tensor of a storage, an offset, a shape and strides."""
    storage = torch.arange(6, device="cpu", dtype=torch.float32)._typed_storage()
    return bool(rebuild(storage, 1, (2,), (2,), False, {}).tolist() == [1.0, 3.0])


def StorageInfo(kind: Any) -> bool:  # noqa: N802
    """Whether it holds a file, an offset and a length."""
    one = kind("file", 1, 2)
    return (one.relative_path, one.offset, one.length) == ("file", 1, 2)


def compute_local_shape_and_global_offset(compute: Any) -> bool:
    """Whether it takes a shape, a mesh and placements."""
    return list(signature(compute).parameters)[:3] == ["global_shape", "mesh", "placements"]
