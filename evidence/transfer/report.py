"""The page docs/transfer.md: every verdict on it is computed from the numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from evidence.transfer.curves import Kept, Mean
from evidence.transfer.doubts import contradictions, unhelped
from evidence.transfer.evenness import Slopes
from evidence.transfer.settings import (
    CHECK_SEEDS,
    CHECK_STEPS,
    CHECKS,
    EVEN,
    NEAR,
    SWEEPS,
    TITLES,
    Sweep,
)
from evidence.transfer.tasks import TASKS

Swept = Mapping[str, Mapping[str, Kept]]
"""By sweep and scheme."""
Checked = Mapping[str, Mapping[str, Slopes]]
"""By check and scheme."""

HEAD = """# Tune small, train large: what was measured

Written by `make transfer` (`python -m evidence.transfer`). The settings in
`evidence/transfer/settings.py` were fixed before the first run. Every verdict below is computed from
the numbers.

`isoinit.transfer` promises that the best learning rate of a small model is close to that of a larger
one. It does not promise a lower loss than a learning rate that is tuned at the large size.

These schemes are compared:

- **{own}**: the model with the values of its constructor.
- **{plan}**: the initial parameters of `isoinit.plan`.
- **{transfer}**: the initial parameters and the optimizer's groups of `isoinit.transfer` from the
  smallest size. At the smallest size this equals the plan, and one run counts for both.
- **{scaled}**: the same with `recipe="own"`, on one model, to see what equal
  changes at all widths prove.

All runs took {minutes:.0f} minutes on one core.
"""

CHECK_HEAD = """
## Do layers change alike at all widths?

`isoinit.coordinates` measures how much the output of each kind of layer changes in training
(layers whose names differ only in numbers are of one kind). The table has the slope of log2 of
the root mean square change over log2 of the width, over {seeds} seeds. A slope of 0 means that
layers change by the same amount at all widths. A model is even if all slopes at step {last} lie
within ±{even}. Attention scores and the model's output may fall, but not rise; they are orange in
the picture.

"""

SWEEP_HEAD = """
## {title}

{words}.

{By} {sizes}, {fixed} {other}; {optimizer}, {steps} steps, {seeds} seeds: means and standard errors.
Learning rates are powers of two. The best rate is the vertex of a parabola through the lowest loss
and its two neighbours. The last two columns show the loss at the rate that is best at {by} {base}, and
how much higher this loss is. The error of a loss comes mostly from the data, which are the same in
all rows, so the error of a cost is computed from pairs.

{said}

"""

LIMITS = """
## What these runs do not show

- Runs are short: they show about the first hundred steps. The best rates of long runs may be other
  rates, and may change differently with the size.
- There is no weight decay. `decay=` is derived and tested for exactness, but not tried here.
- Models are small, and tasks are easy.
- A grid of factors of two can distinguish best rates that differ by about a factor of {near:g}.
"""


def document(swept: Swept, checked: Checked, seconds: float) -> str:
    """Return the page.

    Args:
        swept: the losses by rate.
        checked: the changes by width.
        seconds: what all runs took, of one core.
    """
    parts = [HEAD.format(minutes=seconds / 60, **TITLES), _checks(checked)]
    parts += [_sweep(name, SWEEPS[name], kept) for name, kept in swept.items()]
    parts += ["\n## Where it does not help\n\n", *_list(unhelped(swept, checked))]
    parts += ["\n## What contradicts it\n\n", *_list(contradictions(swept, checked))]
    return "".join(parts) + LIMITS.format(near=2**NEAR)


def _list(said: list[str]) -> list[str]:
    lines = (
        textwrap.fill(one, 100, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
        for one in said
    )
    return [f"{line}\n" for line in lines] or ["Nothing of the kind was found in these runs.\n"]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _checks(checked: Checked) -> str:
    first, last = min(CHECK_STEPS), max(CHECK_STEPS)
    head = ["model", "widths", "optimizer", "scheme", "layers"]
    head += [f"slopes of layers, step {step}" for step in (first, last)]
    head += [f"of scores and output, step {last}", "even"]
    rows = []
    for name, schemes in checked.items():
        check = CHECKS[name]
        model = [name, f"{check.widths[0]} – {check.widths[-1]}", OPTIMIZERS[check.optimizer]]
        for scheme, slopes in schemes.items():
            cells = [TITLES[scheme], str(slopes.layers)]
            cells += [_range(slopes.slopes(step, bounded=False)) for step in (first, last)]
            cells += [_range(slopes.slopes(last, bounded=True))]
            rows.append([*model, *cells, "**no**" if slopes.uneven(last) else "yes"])
    text = CHECK_HEAD.format(seeds=len(CHECK_SEEDS), even=EVEN, last=last) + _table(head, rows)
    return text + "\n![Change of layers by width](pictures/transfer-coordinates.svg)\n"


OPTIMIZERS = {"adamw": "AdamW", "sgd": "SGD with momentum"}


def _range(slopes: Mapping[str, float]) -> str:
    if not slopes:
        return "–"
    ends = dict.fromkeys(f"{end:+.2f}" for end in (min(slopes.values()), max(slopes.values())))
    return " to ".join(ends)


def _sweep(name: str, sweep: Sweep, kept: Mapping[str, Kept]) -> str:
    text = SWEEP_HEAD.format(
        title=sweep.title,
        words=TASKS[sweep.task].words,
        by=sweep.by,
        By=sweep.by.capitalize(),
        sizes=", ".join(map(str, sweep.sizes)),
        fixed="depth" if sweep.by == "width" else "width",
        other=sweep.other,
        optimizer=OPTIMIZERS[sweep.optimizer],
        steps=sweep.steps,
        seeds=sweep.seeds,
        base=sweep.base,
        said="".join(
            _list([verdict(TITLES[s], sweep, found) for s, found in kept.items()])
        ).rstrip(),
    )
    head = ["scheme", sweep.by, "best rate, log2", "loss at the best rate tried"]
    head += [f"loss at the rate of {sweep.by} {sweep.base}", "what that costs"]
    rows = [
        [
            TITLES[scheme],
            str(size),
            curve.vertex.shown(2, "+"),
            curve.lowest.shown(3),
            curve.loss(found.base.best).shown(3),
            "" if size == sweep.base else found.costs[size].shown(3),
        ]
        for scheme, found in kept.items()
        for size, curve in found.curves.items()
    ]
    text += _table(head, rows)
    return text + f"\n![{sweep.title}: loss by rate](pictures/transfer-{name}.svg)\n"


def verdict(title: str, sweep: Sweep, found: Kept) -> str:
    """Return what became of the best rate and what it costs to keep it, in sentences."""
    last = list(found.curves)[-1]
    ends = [f"2^{curve.vertex.shown(1)}" for curve in (found.base, found.last)]
    stays = "stays" if found.furthest <= NEAR else "**does not stay**"
    said = (
        f"**{title}**: from {sweep.by} {sweep.base} to {last} the best rate goes from {ends[0]} to "
        f"{ends[1]}, {times(found.moved)}. It {stays} within a factor of {2**NEAR:g} over all sizes. "
    )
    cost = found.costs[last]
    if cost.value == float("inf"):
        return said + f"Runs of {sweep.by} {last} at the rate of {sweep.by} {sweep.base} fail."
    losses = found.last.loss(found.base.best).value, found.last.lowest.value
    said += (
        f"At {sweep.by} {last}, the rate of {sweep.by} {sweep.base} costs {cost.shown(3)}: a loss of "
        f"{losses[0]:.3f} instead of {losses[1]:.3f}. "
    )
    grows = (
        "gets lower with each step up" if found.falls else "does not get lower with each step up"
    )
    return said + f"At that one rate the loss {grows}."


def times(moved: Mean) -> str:
    """Return a move of log2 as a factor."""
    return f"{2 ** abs(moved.value):.1f} times {'lower' if moved.value < 0 else 'higher'}"
