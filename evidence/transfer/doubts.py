"""What speaks against transfer: what the runs show of it, and what others found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from evidence.transfer.curves import Kept, lower
from evidence.transfer.evenness import Slopes
from evidence.transfer.settings import (
    CHECK_STEPS,
    CHECKED_ALSO,
    NEAR,
    OWN,
    SCALED,
    SWEEPS,
    TITLES,
    TRANSFER,
    TRANSFERS,
)


def unhelped(
    swept: Mapping[str, Mapping[str, Kept]], checked: Mapping[str, Mapping[str, Slopes]]
) -> list[str]:
    """Return where a transfer does not do what it should, or is not needed, in sentences."""
    said = []
    for name, kept in swept.items():
        sweep = SWEEPS[name]
        for scheme in kept:
            if scheme in TRANSFERS and scheme != SCALED:
                where = f"{sweep.title}, {TITLES[scheme]}"
                said += [f"{where}: {one}" for one in _of_sweep(sweep.by, scheme, kept)]
    for name, slopes in checked.items():
        said += [f"Coordinates of {name}: {one}" for one in _of_check(slopes)]
    return said


def _of_sweep(by: str, scheme: str, kept: Mapping[str, Kept]) -> Iterator[str]:
    found = kept[scheme]
    if found.furthest > NEAR:
        yield f"the best rate moves by up to a factor of {2**found.furthest:.1f}."
    if not found.falls:
        losses = ", ".join(loss.alone(3) for loss in found.reused)
        yield f"at the base's rate a larger {by} does not always have a lower loss: {losses}."
    rivals = {TITLES[other]: rival for other, rival in kept.items() if other not in TRANSFERS}
    for title, rival in rivals.items():
        if better := [
            _said(size, rival, found) for size in rival.curves if _lower(size, rival, found)
        ]:
            yield f"{title}, tuned at each {by}, reaches a lower loss at {', '.join(better)}."
    size = list(found.curves)[-1]
    as_cheap = [
        f"{rival.costs[size].shown(3)} with {title}"
        for title, rival in rivals.items()
        if math.isfinite(rival.costs[size].value) and not lower(found.extra, rival.extra)
    ]
    if as_cheap:
        yield (
            f"to keep the base's rate costs {found.costs[size].shown(3)} at {by} {size}, and not "
            f"clearly more without a transfer: {', '.join(as_cheap)}."
        )


def _lower(size: int, one: Kept, other: Kept) -> bool:
    ours, theirs = one.curves[size], other.curves[size]
    return lower(ours.runs[ours.best], theirs.runs[theirs.best])


def _said(size: int, one: Kept, other: Kept) -> str:
    losses = [kept.curves[size].lowest.alone(3) for kept in (one, other)]
    return f"{size} ({losses[0]} instead of {losses[1]})"


def _of_check(slopes: Mapping[str, Slopes]) -> Iterator[str]:
    last = max(CHECK_STEPS)
    if uneven := slopes[TRANSFER].uneven(last):
        layers = ", ".join(f"`{layer}` {value:+.2f}" for layer, value in uneven.items())
        yield f"uneven under a transfer are {layers}."
    if still := slopes[TRANSFER].still(last):
        yield f"without any change at some width are {', '.join(f'`{n}`' for n in still)}."
    if OWN in slopes and not slopes[OWN].uneven(last):
        yield f"{TITLES[OWN]} is even, too."


KOSSON = (
    "Kosson et al. 2025 (arXiv 2510.19093) find that what muP assumes of the alignment of weights, "
    "updates and inputs holds only briefly at the start of training, that afterwards weight decay "
    "keeps updates alike over widths, and that muP's rates mostly act as a warm-up, which can "
    "sometimes take their place. The runs above are short and have no weight decay: they neither "
    "confirm nor refute this."
)
EVERETT = (
    "Everett et al. 2024 (arXiv 2407.05872) find that other parametrizations transfer as well, and "
    "that the standard one with a rate of its own for each layer reaches lower losses than muP. None "
    "of that was tried here."
)
NANOCHAT = (
    "For nanochat a contributor searched rates and decays under muP, and ended at 0.8399 bits a byte; "
    "the standard parametrization had 0.8382 (karpathy/nanochat, pull request 644, 22 April 2026)."
)
FLAT = (
    "Flat coordinates do not prove that a rate transfers, nor that a model learns. They say that the "
    "first few steps change layers alike at all widths. In issue 22 of microsoft/mup they looked "
    "right, and the rate of a model of 350 million parameters made one of 1.3 billion diverge."
)


def contradictions(
    swept: Mapping[str, Mapping[str, Kept]], checked: Mapping[str, Mapping[str, Slopes]]
) -> list[str]:
    """Return what others found, and what flat coordinates were worth here."""
    said = [KOSSON, EVERETT, NANOCHAT, FLAT]
    for name in CHECKED_ALSO:
        if name in checked and SCALED in swept.get("width", {}):
            said += flattest(swept["width"], checked[name])
    return said


def flattest(kept: Mapping[str, Kept], slopes: Mapping[str, Slopes]) -> list[str]:
    """Return how coordinates and losses compare, where transfer was also put on the library's init."""
    last = max(CHECK_STEPS)
    size = list(kept[SCALED].curves)[-1]
    rows = {}
    for scheme in slopes:
        if scheme in kept and (hidden := slopes[scheme].slopes(last, bounded=False)):
            flat = sum(map(abs, hidden.values())) / len(hidden)
            rows[scheme] = (flat, kept[scheme].curves[size].lowest)
    if len(rows) < 2:
        return []
    listed = "; ".join(
        f"{TITLES[scheme]}: {flat:.2f} and {loss.shown(3)}" for scheme, (flat, loss) in rows.items()
    )
    even = min(rows, key=lambda scheme: rows[scheme][0])
    least = max(rows, key=lambda scheme: rows[scheme][1].value)
    same = "which also learned least" if even == least else f"{TITLES[least]} learned least"
    return [
        "Here, the mean |slope| of the GPT's layers, and the loss at the best rate of width "
        f"{size}: {listed}. The flattest are those of {TITLES[even]}; {same}."
    ]
