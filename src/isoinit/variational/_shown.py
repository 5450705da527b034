"""How a prediction looks in the terminal: one row a quantity, or one an answer."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from isoinit._showing.folding import short
from isoinit._showing.table import render
from isoinit._showing.terminal import Printed

DIGITS = 3
LEGEND = {
    "std": "std: square root of the total variance",
    "epistemic": "epistemic: the variance between draws",
    "aleatoric": "aleatoric: the data's noise",
    "probability": "probability: of the likeliest class",
    "entropy": "entropy: in nats",
    "information": "information: the part of the entropy from differences between draws",
}


def table(title: str, quantities: Mapping[str, torch.Tensor], verbose: bool) -> Printed:
    """Return a prediction as a table.

    Args:
        title: above it.
        quantities: by name, all of one shape: a number for each answer.
        verbose: whether every answer gets a row.
    """
    known = {name: values.detach().cpu().double() for name, values in quantities.items()}
    notes = ["; ".join(LEGEND[name] for name in known if name in LEGEND)]
    if verbose:
        shape = next(iter(known.values())).shape
        places = [", ".join(map(str, i)) for i in torch.ones(shape).nonzero().tolist()]
        cells = [[short(x, DIGITS) for x in values.flatten().tolist()] for values in known.values()]
        rows = [*zip(places, *cells, strict=True)]
        return render(title, ("answer", *known), rows, notes)
    rows = [(name, *_ends(values)) for name, values in known.items()]
    return render(title, ("of all answers", "least", "median", "largest"), rows, notes)


def _ends(values: torch.Tensor) -> tuple[str, str, str]:
    if not values.numel():
        return "", "", ""
    low, middle, high = (
        short(float(x), DIGITS) for x in (values.min(), values.median(), values.max())
    )
    return low, middle, high
