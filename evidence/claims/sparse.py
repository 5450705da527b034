"""Sparse: compute, memory and the largest network that fits, and what tuning the level does.

The whole account is docs/sparse.md (`make sparse`); this is its short form.
"""

from __future__ import annotations

from statistics import mean, median

from evidence.claims.claim import Claim, Found, main, save
from evidence.sparse.digits import NARROW, WIDE, Run, runs
from evidence.sparse.memory import fresh
from evidence.sparse.width import LIMIT

KEPT = 0.05
LEVELS = (0.2, 0.05, 0.02, 0.005)
# Widths that docs/sparse.md found by search: the widest of each that fits, and a dense one beyond.
FITS, BEYOND, WIDEST, WIDEST_KEPT = 11_392, 11_776, 78_720, 0.01


def accuracy(found: list[Run]) -> float:
    """After the last epoch, in percent: the mean over seeds."""
    return mean(run.accuracies[-1] for run in found)


def seconds(found: list[Run]) -> float:
    """An epoch takes."""
    return median(second for run in found for second in run.seconds)


def run() -> tuple[list[Found], str]:
    """Train, measure, and draw what tuning the level does."""
    dense, few = runs("dense", WIDE), runs("isoinit", WIDE)
    memory = [fresh("evidence.sparse.digits", name) for name in ("dense", "isoinit")]
    sizes = {
        (width, kept): fresh("evidence.sparse.width", width, kept)
        for width, kept in ((FITS, 1.0), (BEYOND, 1.0), (WIDEST, WIDEST_KEPT))
    }
    levels = {level: runs("isoinit", NARROW, level) for level in LEVELS}
    whole = runs("dense", NARROW)
    loss = accuracy(dense) - accuracy(few)
    faster, smaller = seconds(dense) / seconds(few), memory[0] / memory[1]
    costs = [seconds(levels[level]) for level in LEVELS]
    fits = sizes[FITS, 1.0] <= LIMIT < sizes[BEYOND, 1.0] and sizes[WIDEST, WIDEST_KEPT] <= LIMIT
    draw(levels, whole)
    return [
        Found(
            f"accuracy lost, of {accuracy(dense):.1f} %, with {KEPT:.0%} of the weights",
            "less than 1 point",
            f"{loss:.1f} points",
            loss < 1,
        ),
        Found("how many times faster an epoch is", "more than 2", f"{faster:.1f}", faster > 2),
        Found("how many times less memory it takes", "more than 4", f"{smaller:.1f}", smaller > 4),
        Found(
            f"widest network within {LIMIT} MiB, {WIDEST_KEPT:.0%} kept, by the widest dense one",
            f"more than 5 times as wide (at most 1/√{WIDEST_KEPT:g} = 10, were there no indices)",
            f"{WIDEST:,} ({sizes[WIDEST, WIDEST_KEPT]:,.0f} MiB) by {FITS:,} "
            f"({sizes[FITS, 1.0]:,.0f} MiB; {BEYOND:,} takes {sizes[BEYOND, 1.0]:,.0f}): "
            f"{WIDEST / FITS:.1f} times",
            fits and WIDEST / FITS > 5,
        ),
        Found(
            f"tuning the level, {' → '.join(f'{level:.1%}' for level in LEVELS)} kept",
            "each level is cheaper than the one before, and accuracy falls by less than 2 points",
            " → ".join(f"{cost:.2g} s" for cost in costs)
            + "; "
            + " → ".join(f"{accuracy(levels[level]):.1f} %" for level in LEVELS),
            costs == sorted(costs, reverse=True)
            and accuracy(whole) - min(accuracy(levels[level]) for level in LEVELS) < 2,
        ),
    ], (
        f"In networks of width {NARROW}, sparse products are not much faster, because the networks "
        f"are small: a dense epoch takes {seconds(whole):.2g} s. More measurements: "
        "[sparse networks, measured](sparse.md)."
    )


def draw(levels: dict[float, list[Run]], whole: list[Run]) -> None:
    """Accuracy and time by the share of weights that is kept."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    kept = [100 * level for level in levels]
    for axes, what, of in ((left, "accuracy, %", accuracy), (right, "seconds an epoch", seconds)):
        axes.plot(kept, [of(found) for found in levels.values()], "o-", label="sparse")
        axes.axhline(of(whole), color="gray", linestyle="--", label="dense")
        axes.set(xscale="log", xlabel="weights kept, %", ylabel=what)
        axes.grid(alpha=0.3)
    left.set_ylim(90, 100)
    right.set_ylim(bottom=0)
    left.legend(frameon=False)
    save(figure, "sparse")


CLAIM = Claim(
    "sparse",
    "Sparse: less compute, less memory, wider networks",
    "A network that stores and computes only the kept weights is as accurate with 5 % of the "
    "weights, and needs less time and memory. The density can be tuned.",
    "the mission; Martens 2010, Evci et al. 2020",
    f"Digits, networks 64-n-n-10, three seeds, fused Adam: n = {WIDE} compared with dense, n = "
    f"{NARROW} by density. Memory is the maximum resident memory of a separate process.",
    run,
)

if __name__ == "__main__":
    main(CLAIM)
