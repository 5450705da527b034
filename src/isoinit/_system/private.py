"""What isoinit uses of torch that torch does not promise to keep: here alone, and tested before use.

`from isoinit._system.private import FakeTensor` loads what torch has under that name, tries it once,
and hands out torch's own object: a call costs what it costs in torch. What is missing, or does
something else, is refused with a message that names it. This module itself does not load torch.
Attributes of torch's public classes that begin with an underscore stay where they are read:
`probes.MEMBERS` lists them, and `need` looks for them.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isoinit.errors import PackageError

if TYPE_CHECKING:  # each begins as in `FEATURES`
    import torch
    from torch._C import DisableTorchFunction as DisableTorchFunction
    from torch._ops import OpOverload as OpOverload
    from torch._ops import OpOverloadPacket as OpOverloadPacket
    from torch._subclasses.fake_tensor import FakeTensor as FakeTensor
    from torch._subclasses.fake_tensor import FakeTensorMode as FakeTensorMode
    from torch._subclasses.fake_tensor import unset_fake_temporarily as unset_fake_temporarily
    from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
    from torch.utils._python_dispatch import (
        is_traceable_wrapper_subclass as is_traceable_wrapper_subclass,
    )
    from torch.utils._pytree import tree_map as tree_map


class Feature(NamedTuple):
    """Something private of torch: the module and the name in it, and what isoinit needs it for."""

    home: str
    path: str
    use: str
    instead: Any = None  # for versions that isoinit supports without it


_FAKES, _MODES = "torch._subclasses.fake_tensor", "torch.utils._python_dispatch"


def _hooks_unknown(_: bool) -> bool:
    """Answer as if there were hooks: what follows from it is right with and without them."""
    return True


def _fx_of_old() -> bool:
    """Answer as torch 2.6 does, where the function has another name."""
    return bool(sys.modules["torch.fx._symbolic_trace"].is_fx_tracing())


_READS, _WHERE = "reading a model without running it", "telling whether a call comes inside of "

FEATURES: Final = {
    "FakeTensor": Feature(_FAKES, "FakeTensor", _READS),
    "FakeTensorMode": Feature(_FAKES, "FakeTensorMode", _READS),
    "unset_fake_temporarily": Feature(_FAKES, "unset_fake_temporarily", _READS),
    "TorchDispatchMode": Feature(_MODES, "TorchDispatchMode", "seeing every operation"),
    "is_traceable_wrapper_subclass": Feature(
        _MODES, "is_traceable_wrapper_subclass", "finding the memory of tensors made of tensors"
    ),
    "OpOverload": Feature("torch._ops", "OpOverload", _READS),
    "OpOverloadPacket": Feature("torch._ops", "OpOverloadPacket", _READS),
    "tree_map": Feature("torch.utils._pytree", "tree_map", "calibration"),
    "DisableTorchFunction": Feature("torch._C", "DisableTorchFunction", "tensors with modes"),
    "DisableTorchDispatch": Feature("torch._C", "_DisableTorchDispatch", _READS),
    "EnableTorchFunction": Feature("torch._C", "_EnableTorchFunction", "leaving modes"),
    "is_torch_function_enabled": Feature("torch._C", "_is_torch_function_enabled", "leaving modes"),
    "is_torch_function_all_disabled": Feature(
        "torch._C", "_is_torch_function_all_disabled", "leaving modes"
    ),
    "len_torch_function_stack": Feature("torch._C", "_len_torch_function_stack", _READS),
    "len_torch_dispatch_stack": Feature("torch._C", "_len_torch_dispatch_stack", _READS),
    "get_dispatch_mode": Feature("torch._C", "_get_dispatch_mode", "leaving fake tensors"),
    "FAKE_MODE": Feature("torch._C", "_TorchDispatchModeKey.FAKE", "leaving fake tensors"),
    "peek_interpreter_stack": Feature(
        "torch._C._functorch", "peek_interpreter_stack", _WHERE + "torch.func"
    ),
    "is_functorch_wrapped_tensor": Feature(
        "torch._C._functorch", "is_functorch_wrapped_tensor", _WHERE + "torch.func"
    ),
    "are_functorch_transforms_active": Feature(
        "torch._C", "_are_functorch_transforms_active", _WHERE + "torch.func"
    ),
    "get_eval_frame_callback": Feature(
        "torch._C._dynamo.eval_frame", "get_eval_frame_callback", _WHERE + "torch.compile"
    ),
    "is_fx_symbolic_tracing": Feature(
        "torch.fx._symbolic_trace", "is_fx_symbolic_tracing", _WHERE + "torch.fx", _fx_of_old
    ),
    "get_proxy_mode": Feature(
        "torch.fx.experimental.proxy_tensor", "get_proxy_mode", _WHERE + "torch.export"
    ),
    "current_graph_task_id": Feature(
        "torch._C", "_current_graph_task_id", _WHERE + "a backward pass"
    ),
    "top_saved_tensors_default_hooks": Feature(
        "torch._C._autograd",
        "_top_saved_tensors_default_hooks",
        "noise that is drawn again",
        _hooks_unknown,  # torch 2.6 has no such function
    ),
    "storage_use_count": Feature("torch._C", "_storage_Use_Count", "isoinit.deferred"),
    "WeightNorm": Feature("torch.nn.utils.parametrizations", "_WeightNorm", "weight norm"),
    "rebuild_tensor": Feature("torch._utils", "_rebuild_tensor_v2", "checkpoints in DCP"),
    "StorageInfo": Feature(
        "torch.distributed.checkpoint.filesystem", "_StorageInfo", "checkpoints in DCP"
    ),
    "compute_local_shape_and_global_offset": Feature(
        "torch.distributed.tensor._utils",
        "compute_local_shape_and_global_offset",
        "audits of sharded models",
    ),
}

EVERYWHERE: Final = "tensors storages modules layers convolutions parametrizations".split()
"""What is looked for with the first feature: it takes microseconds."""


def __getattr__(name: str) -> Any:
    """Return what torch has under a name of `FEATURES`.

    Raises:
        PackageError: if it is missing, or does not do what isoinit needs.
    """
    if name not in FEATURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for members in EVERYWHERE:
        need(members)
    if fault := fault_of(name):
        raise PackageError(_refusal(fault, FEATURES[name].use))
    try:
        found = _found(FEATURES[name])
    except (ImportError, AttributeError):
        found = FEATURES[name].instead
    globals()[name] = found
    return found


@cache
def need(name: str) -> None:
    """Look once for the attributes that `probes.MEMBERS` lists under a name.

    Raises:
        PackageError: if one is missing.
    """
    if fault := _probes().fault_of(name):
        raise PackageError(_refusal(fault, _probes().MEMBERS[name].use))


def _probes() -> Any:
    """What tries torch imports it, and this module does not."""
    return import_module("isoinit._system.probes")


def storage_key(tensor: torch.Tensor) -> int:
    """Return a number that two tensors have in common if they are on one memory, meta ones too."""
    return int(tensor.untyped_storage()._cdata)


def fault_of(name: str) -> str:
    """Return what is wrong with a feature; "" if nothing is."""
    feature = FEATURES[name]
    try:
        found = _found(feature)
    except (ImportError, AttributeError):
        return "" if feature.instead else f"no {feature.home}.{feature.path}"
    probe = getattr(_probes(), name, None)
    if probe is None or (said := _aside(probe, found)) is True:
        return ""
    why = f": {type(said).__name__}: {said}" if isinstance(said, Exception) else ""
    return f"a {feature.home}.{feature.path} that does something else{why}"


def _found(feature: Feature) -> Any:
    found: Any = import_module(feature.home)
    for part in feature.path.split("."):
        found = getattr(found, part)
    return found


def _aside(probe: Any, found: Any) -> Any:
    """Return what a probe says, in a thread of its own: torch's modes are those of a thread."""
    said: list[Any] = []

    def run() -> None:
        try:
            said.append(probe(found))
        except Exception as error:  # whatever it is, it is what there is to say
            said.append(error)

    thread = Thread(target=run, name="isoinit probe")
    thread.start()
    thread.join()
    return said[0]


def _refusal(fault: str, use: str) -> str:
    version = getattr(sys.modules.get("torch"), "__version__", "?")
    return (
        f"torch {version} has {fault}, which isoinit needs for {use}: install a version of torch "
        "that docs/supported.md lists, or a newer isoinit"
    )
