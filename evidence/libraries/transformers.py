"""`transformers`: small models of every fourth family; docs/families.md has them all."""

from __future__ import annotations

import copy
from typing import Any

import torch
from evidence.families import configs
from evidence.families.batches import fitting
from evidence.libraries.catalogue import Models
from torch import nn

EVERY = 4
EXAMPLES = 4
ORDINARY = 100  # token numbers below are words; above are marks, such as an image's place
DRAWN = "pixel_values input_features input_values past_values spectrogram states".split()


def models() -> Models:
    """Some families; those without a batch that fits say so when they are built."""
    for family in configs.families()[::EVERY]:
        yield family, lambda family=family: _made(family)


def _made(family: str) -> tuple[nn.Module, Any]:
    failure: Exception | None = None
    for reduce in (configs.small, configs.shallow):
        torch.manual_seed(0)
        try:
            model, config = configs.build(family, reduce)
            batch = fitting(copy.deepcopy(model), config)  # a forward may leave a cache behind
        except Exception as error:
            failure = failure or error
            continue
        return model, _several(model, batch)
    raise failure or RuntimeError("no configuration")


def _several(model: nn.Module, batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with more examples like its one, where the model takes them."""
    rows = {name: _row(name, value) for name, value in batch.items()}
    try:
        with torch.no_grad():
            copy.deepcopy(model)(**rows)
    except Exception:
        return batch
    return rows


def _row(name: str, value: Any) -> Any:
    if not torch.is_tensor(value) or not value.dim() or len(value) != 1:
        return value
    every = torch.cat([value] * EXAMPLES)
    if name.endswith("input_ids"):
        return torch.where(every < ORDINARY, torch.randint(5, ORDINARY, every.shape), every)
    return torch.randn(every.shape) if name in DRAWN else every
