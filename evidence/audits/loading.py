"""Whether `from_pretrained` leaves memory unwritten where a checkpoint lacks what an audit names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def left_empty(model: Any, names: Sequence[str]) -> list[str]:
    """Load a model's own values without some of them; the names of those that are memory as it was.

    `torch.empty` gives NaN meanwhile, so that what nothing writes is seen.
    """
    lacking = {n: t.clone() for n, t in model.state_dict().items() if n not in names}
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        loaded = type(model).from_pretrained(None, config=model.config, state_dict=lacking)
    finally:
        torch.use_deterministic_algorithms(False)
    now = {**dict(loaded.named_parameters()), **dict(loaded.named_buffers())}
    return [n for n in names if n in now and bool(now[n].float().isnan().any())]
