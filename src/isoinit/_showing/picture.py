"""A picture of the signal by depth, through matplotlib."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from isoinit._system.files import whole
from isoinit.errors import escaped

Curves = Mapping[str, Sequence[float]]


def signal_by_depth(forward: Curves, backward: Curves, path: str | os.PathLike[str]) -> Path:
    """Draw the size of activations and of gradients by layer, one line a model, on log scales.

    Args:
        forward: for each model, how much each layer's output differs between examples, first layer
            first.
        backward: for each model, that of the gradient at each layer's output.
        path: the file to write; its ending chooses the format.

    Returns:
        The path.

    Raises:
        ImportError: without matplotlib, which comes with the extra `isoinit[demo]`.
        ValueError: if the ending is none of a picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    titles = ("forward: how outputs differ between examples", "backward: size of gradients")
    for axes, curves, title in zip(figure.subplots(1, 2), (forward, backward), titles, strict=True):
        for (name, sizes), style in zip(curves.items(), ("o-", "s-", "^-", "d-"), strict=False):
            axes.plot(range(1, len(sizes) + 1), sizes, style, markersize=3.5, label=escaped(name))
        axes.set(yscale="log", title=title, xlabel="layer", ylabel="root mean square")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    target = Path(path)
    with whole(target) as file:
        figure.savefig(file, dpi=130, format=target.suffix.removeprefix(".") or "png")
    return target
