"""The pictures of docs/transfer.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product

from evidence.claims.claim import save
from evidence.transfer.curves import Kept
from evidence.transfer.evenness import Slopes
from evidence.transfer.settings import CHECK_STEPS, CHECKED, TITLES, TRANSFER, Sweep


def draw_sweep(name: str, sweep: Sweep, kept: Mapping[str, Kept]) -> None:
    """Draw the mean loss by rate: a panel a scheme, a line a size; dotted, the base's best rate."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(kept) + 1, 3.4), layout="constrained")
    panels = figure.subplots(1, len(kept), sharex=True, sharey=True, squeeze=False)[0]
    colours = mpl.colormaps["viridis"]
    for axes, (scheme, found) in zip(panels, kept.items(), strict=True):
        for place, (size, curve) in enumerate(found.curves.items()):
            colour = colours(0.85 * (1 - place / max(1, len(found.curves) - 1)))
            points = {e: curve.loss(e) for e in curve.runs}
            x = [e for e, loss in points.items() if math.isfinite(loss.value)]
            axes.plot(x, [points[e].value for e in x], color=colour, marker=".", label=f"{size}")
            axes.plot(curve.best, curve.lowest.value, "o", color=colour, markersize=8)
        axes.axvline(found.base.best, color="grey", linestyle="dotted", linewidth=1)
        axes.set_title(TITLES[scheme], fontsize=9)
        axes.set_xlabel("log2 of the learning rate")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("training loss at the end")
    panels[0].set_ylim(*_limits(kept))
    panels[-1].legend(title=sweep.by, frameon=False, fontsize=8)
    save(figure, f"transfer-{name}")


def _limits(kept: Mapping[str, Kept]) -> tuple[float, float]:
    """Return bounds that hold the lowest losses and those at the base's rate."""
    curves = [curve for found in kept.values() for curve in found.curves.values()]
    lowest = [curve.lowest.value for curve in curves]
    reused = [loss.value for found in kept.values() for loss in found.reused]
    top = max(filter(math.isfinite, [*lowest, *reused]))
    room = max(top - min(lowest), 0.05 * top)
    return min(lowest) - 0.1 * room, top + 0.4 * room


def draw_checks(found: Mapping[str, Mapping[str, Slopes]]) -> None:
    """Draw log2 change by width: a column a model, a row a scheme, a line a kind of layer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(found) + 1, 5.2), layout="constrained")
    panels = figure.subplots(len(CHECKED), len(found), sharey="col", squeeze=False)
    for (row, scheme), (column, name) in product(enumerate(CHECKED), enumerate(found)):
        axes, slopes = panels[row][column], found[name][scheme]
        for kind, by_width in slopes.moved(max(CHECK_STEPS)).items():
            line = "tab:blue" if scheme == TRANSFER else "tab:red"
            colour = "tab:orange" if slopes.is_bounded(kind) else line
            x, y = list(by_width), list(map(math.log2, by_width.values()))
            axes.plot(x, y, color=colour, alpha=0.7, marker=".")
        axes.set_xscale("log", base=2)
        axes.set_title(f"{name}: {TITLES[scheme]}", fontsize=8)
        axes.grid(alpha=0.3)
        if row == len(CHECKED) - 1:
            axes.set_xlabel("width")
    for axes in panels[:, 0]:
        axes.set_ylabel(f"log2 change in {max(CHECK_STEPS)} steps")
    save(figure, "transfer-coordinates")
