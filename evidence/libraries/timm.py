"""`timm`: up to two models of each module, the smallest by name."""

from __future__ import annotations

import re
from typing import Any

import timm as library
import torch
from evidence.libraries.catalogue import Models
from torch import nn

SMALL = re.compile(
    r"nano|atto|femto|pico|tiny|xxs|xs|small|mini|_t$|_t\d?_|_ti_|_s$|_s\d?_|_xx|18|14d|26|b0|m0|_s0|"
    r"_050|_035|_002|_004|l1$|l2$|_a$|f0|_9_|s050|_n$|_t0|_d1_|128s|_128|39b|19b|_m1|s1$|_100|11$|34$"
)
MANY = re.compile(
    r"giant|huge|large|gigantic|enormous|so\d00|[_-]xl|\db_|_\d{3}m|7b|xlarge|_512|_448"
)
MOST = 2
SIDE, EXAMPLES = 128, 4


def models() -> Models:
    """Up to two of each module, spread over its list."""
    for module in library.list_modules():
        every = [n for n in library.list_models(module=module) if not n.startswith("test_")]
        small = [n for n in every if SMALL.search(n) and not MANY.search(n)] or every[:1]
        for name in dict.fromkeys(small[i * len(small) // MOST] for i in range(MOST)):
            yield name, lambda name=name: _made(name)


def _made(name: str) -> tuple[nn.Module, Any]:
    """The model on four small images where it takes them, else on two of its own size."""
    torch.manual_seed(0)
    for options in ({}, {"img_size": SIDE}):
        try:
            model = library.create_model(name, pretrained=False, **options)
            images = torch.randn(EXAMPLES, 3, SIDE, SIDE)
            with torch.no_grad():
                model.eval()(images)
            return model, images
        except Exception:
            continue  # of a fixed size, or one that windows divide
    torch.manual_seed(0)
    model = library.create_model(name, pretrained=False)
    return model, torch.randn(2, *model.pretrained_cfg["input_size"])
