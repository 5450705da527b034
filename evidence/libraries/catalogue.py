"""The libraries, and their models by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from torch import nn

Build = Callable[[], tuple[nn.Module, Any]]  # a model, and a batch for it
Models = Iterator[tuple[str, Build]]
LIBRARIES = (  # one file each here, of the library's own name
    "x_transformers",
    "vit_pytorch",
    "nflows",
    "torch_geometric",
    "diffusers",
    "segmentation_models_pytorch",
    "monai",
    "torchaudio",
    "speechbrain",
    "torchvision",
    "timm",
    "transformers",
)


@cache
def models(library: str) -> dict[str, Build]:
    """The models of a library."""
    return dict(importlib.import_module(f"evidence.libraries.{library}").models())


def build(library: str, name: str) -> tuple[nn.Module, Any]:
    """A model with its library's own initialization, and a batch of the right kind."""
    return models(library)[name]()


def names(libraries: list[str]) -> list[str]:
    """All models of some libraries, as "library: model"."""
    return [f"{library}: {name}" for library in libraries for name in models(library)]
