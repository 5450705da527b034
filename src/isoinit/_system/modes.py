"""Torch's modes that the caller may be in: those that would falsify a run are left, or refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from isoinit._system import private
from isoinit.errors import ArgumentError

# A module of torch's that nobody has loaded is not at work, and loading it takes long.
_PROXIES, _SYMBOLIC = "torch.fx.experimental.proxy_tensor", "torch.fx._symbolic_trace"


@contextmanager
def plain_torch() -> Iterator[None]:
    """Compute in this block on real tensors, of which each call is seen and a gradient can be taken.

    Torch's inference mode, fake tensors, and blocks that keep calls from being seen are left. Grad
    mode, autocast, the default device and modes of the caller's own stay.

    Raises:
        ArgumentError: inside a function that torch transforms, traces or compiles, whose tensors have
            no values.
    """
    torch = sys.modules.get("torch")  # who has not loaded it is in no mode
    if torch is None:
        yield
        return
    if where := _traced(torch):
        raise ArgumentError(
            f"isoinit was called inside {where}, where tensors have no values. Call isoinit "
            "outside it; nothing was changed"
        )
    with ExitStack() as stack:
        for left in _left(torch):
            stack.enter_context(left)
        yield


def _traced(torch: Any) -> str:
    """Return what is going on around the caller that cannot be left; "" if nothing is."""
    if private.peek_interpreter_stack() is not None:
        return "a function that torch.func transforms (vmap, grad, jvp and the like)"
    if torch.jit.is_tracing():
        return "torch.jit.trace"
    if _PROXIES in sys.modules and private.get_proxy_mode() is not None:
        return "a function that make_fx or torch.export traces"
    if _SYMBOLIC in sys.modules and private.is_fx_symbolic_tracing():
        return "torch.fx.symbolic_trace"
    if private.get_eval_frame_callback() not in (None, False):
        return "a function that torch.compile compiles"
    return ""


def _left(torch: Any) -> Iterator[AbstractContextManager[Any]]:
    """What leaves the modes that can be left."""
    if torch.is_inference_mode_enabled():
        yield torch.inference_mode(False)
    if not private.is_torch_function_enabled() or private.is_torch_function_all_disabled():
        yield private.EnableTorchFunction()
    if private.get_dispatch_mode(private.FAKE_MODE):
        yield private.unset_fake_temporarily()
