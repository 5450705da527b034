"""Parameters that have memory in common and are not one: what is written to one changes the other.

Two parameters over the very same memory are tied (`names.named_parameters`), and parts of one buffer
that lie apart are as good as any. All else that shares memory cannot hold two plans' values at once.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from itertools import islice

import torch

from isoinit._reading.torch.memory import meetings, spans_of
from isoinit.errors import PlanError

_TOLD = 100  # pairs that are counted

APART = (
    "register one Parameter under both names, or copy one of them, such as by p.data = "
    "p.data.clone()"
)


def refuse_shared(
    tensors: Mapping[str, torch.Tensor],
    written: Container[str] | None = None,
    *,
    done: str = "changed",
) -> None:
    """Raise for tensors that have part of their memory in common.

    Args:
        tensors: by name.
        written: the names of those that are written; pairs of others may share what they like.
        done: what did not happen, for the message.

    Raises:
        PlanError: naming the first pair, and what to do.
    """
    if fault := shared(tensors, written):
        raise PlanError(f"nothing was {done}: {fault}: {APART}")


def shared(tensors: Mapping[str, torch.Tensor], written: Container[str] | None = None) -> str:
    """Return which tensors have part of their memory in common; "" if none have."""
    found = list(dict.fromkeys(islice(meetings(tensors, written), _TOLD)))
    if not found:
        return ""
    (one, other), *rest = found
    most = "or more " if len(found) == _TOLD else ""
    more = f" (and {len(rest)} {most}other pairs)" if rest else ""
    return f"{one!r} and {other!r}{more} share memory, so writing to one changes the other"


def meets_itself(tensor: torch.Tensor) -> bool:
    """Return whether elements of a tensor lie in one place, as those of an expanded tensor do."""
    return any(span.meets_itself for span in spans_of(tensor))


def doubts_of_memory(parameters: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Return why a plan's parameters cannot all be filled: for the plan's notes."""
    fault = shared(parameters)
    found = [f"{fault}, and apply will raise an error: {APART}"] if fault else []
    if folded := [name for name, p in parameters.items() if meets_itself(p)]:
        more = f" (and {len(folded) - 1} more)" if len(folded) > 1 else ""
        found.append(
            f"elements of {folded[0]!r}{more} share memory (an expanded tensor, or a view that "
            "overlaps itself), and apply will raise an error: make it contiguous first"
        )
    return tuple(found)
