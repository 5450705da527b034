"""Whether a model trains from where it is, so that an error of a check can be judged.

Thirty steps of AdamW on one batch, toward fixed noise of unit size. A model that brings its own
`objective` (a flow's likelihood) is trained on that. Weight decay is off: it moves what gets no
gradient.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from isoinit._reading.torch.trees import tensors_in

STEPS = 30
RATES = (1e-3, 3e-4)
FALL = 0.9  # a loss that falls below this share of where it started has fallen
MOST = 0.5  # of the parameters have to move: the biases at the end alone can lower a loss
LAST = 3  # steps at the end whose mean counts


def run(model: nn.Module, batch: Any) -> Any:
    """The output of a forward on a batch: one tensor, a tuple of arguments or a dict of them."""
    if isinstance(batch, dict):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple) else model(batch)


def trains(model: nn.Module, batch: Any, seed: int) -> list[dict[str, Any]]:
    """How a copy of the model trains, at each learning rate."""
    return [_train(copy.deepcopy(model), batch, rate, seed) for rate in RATES]


def learns(found: Any) -> bool:
    """Whether at one of the learning rates the loss falls a fair share and most parameters move."""
    return not isinstance(found, str) and any(map(_learns, found))


def _learns(run: dict[str, Any]) -> bool:
    start, end = run["start"], run["end"]
    if start is None or end is None or run["moved"] < MOST:
        return False
    return bool(end <= start - (1 - FALL) * abs(start))  # a likelihood's loss may be below zero


def _train(model: nn.Module, batch: Any, rate: float, seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    before = {n: p.detach().clone() for n, p in trained.items()}
    optimizer = torch.optim.AdamW(trained.values(), lr=rate, weight_decay=0.0)
    losses: list[float] = []
    used: set[str] = set()
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = _loss(model, run(model, batch), seed)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        loss.backward()
        used.update(n for n, p in trained.items() if p.grad is not None)
        optimizer.step()
    moved = [n for n in used if not torch.equal(trained[n], before[n])]
    elements = sum(int((trained[n] != before[n]).sum()) for n in moved)
    return {
        "rate": rate,
        "start": _finite(losses[0]),
        "end": _finite(sum(losses[-LAST:]) / len(losses[-LAST:])),
        "steps": len(losses),
        "used": len(used),
        "moved": len(moved) / max(len(used), 1),
        "elements": elements / max(sum(trained[n].numel() for n in used), 1),
        "still": sorted(used - set(moved))[:8],
    }


def _loss(model: Any, output: Any, seed: int) -> torch.Tensor:
    if hasattr(model, "objective"):
        return torch.as_tensor(model.objective(output))
    tensors = [t for t in tensors_in(output) if t.requires_grad]
    if not tensors:
        raise ValueError("no output depends on the parameters")
    out = tensors[0]
    if out.is_complex():
        out = torch.view_as_real(out)
    return nn.functional.mse_loss(out.float(), target(out.shape, seed))


def target(shape: torch.Size, seed: int) -> torch.Tensor:
    """Noise of unit size; of a map the same at all places: a few steps learn no picture of noise."""
    kept = [*shape[:2], *([1] * (len(shape) - 2))] if len(shape) > 3 else list(shape)
    return torch.randn(kept, generator=torch.Generator().manual_seed(seed)).expand(shape)


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None
