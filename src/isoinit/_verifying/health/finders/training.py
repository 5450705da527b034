"""What the first steps of training will meet: no gradient, dead units, a step too large."""

from __future__ import annotations

import math
from collections.abc import Iterator

from isoinit._showing.findings import Finding, listed
from isoinit._verifying.health.facts import Facts
from isoinit._verifying.health.records import LayerHealth
from isoinit._verifying.health.remedy import mend

# Half of a layer's units dead at the start is a waste; nine in ten and little passes.
DEAD = (0.5, 0.9)
MANY = (
    8  # units: fewer may all be dead by chance, each with a probability of a half in a small batch
)
SATURATED = (0.5, 0.9)
# A model that knows nothing has a loss of ln C; logits of unit size add a half.
ABOVE = (1.0, 0.5)  # the larger of: in nats, and as a share of ln C
FAR_ABOVE = 3.0
# Updates are usually a thousandth of the weights; a first step of a third of them undoes much of an
# initialization, one of three times all of it.
STEP = (0.3, 3.0)
SMALL_STEP = 1e-7


def unused(facts: Facts) -> Iterator[Finding]:
    """Trained parameters without a gradient: cut off on the way to the loss, or not used by it."""
    if not facts.measured.began:
        return
    none = [name for name, size in facts.measured.gradients.items() if size is None]
    graph = facts.measured.graph
    idle = {name for name in none if not _is_read(facts, name)}
    if (doubtful := [name for name in none if name not in idle]) and not facts.influence(doubtful):
        idle.update(doubtful)

    def place(name: str) -> tuple[int, bool]:
        last = max(op.index for op, _ in graph.uses_of(name))
        return -last, "weight" not in facts.roles[name].slot

    # What ran last is named first: the cut lies behind it, and the rest only in front of it.
    cut = sorted((name for name in none if name not in idle), key=place)
    if cut:
        yield Finding(
            "detached",
            "error",
            tuple(cut),
            float(len(cut)),
            0.0,
            "a parameter without a gradient is never trained",
            f"look for {facts.words.cuts} between these parameters and the loss; or "
            f"{facts.words.untrained}",
            f"{listed(cut)}: the forward pass uses the parameter, but no gradient reaches it; the "
            f"gradient stops after {cut[0]}",
        )
    if left := [name for name in none if name in idle]:
        yield Finding(
            "unused parameter",
            "warning",
            tuple(left),
            float(len(left)),
            0.0,
            "a parameter without a gradient is never trained",
            "check that the forward pass uses them and that the loss depends on them, or "
            f"{facts.words.untrained}",
            f"{listed(left)}: no gradient reaches these parameters, since the loss does not use them",
        )


def _is_read(facts: Facts, name: str) -> bool:
    """Whether what is made of a parameter leads to the loss, or may lead there unseen."""
    measured, uses = facts.measured, facts.measured.graph.uses_of(name)
    if name in measured.graph.unused:
        return False
    leading = measured.graph.leading_to(measured.read)
    return measured.graph.missed or not uses or any(leading & {*op.outputs} for op, _ in uses)


def no_gradient(facts: Facts) -> Iterator[Finding]:
    """Parameters whose gradient is zero, and stays so once training has begun."""
    cut = [name for name in facts.measured.gradients if name in facts.ahead.cut]
    if cut:
        zero = [name for name in cut if facts.weights[name].largest == 0]
        yield Finding(
            "dead part",
            "error",
            tuple(zero + [name for name in cut if name not in zero]),
            0.0,
            0.0,
            "a product of two factors that are both zero has no gradient by either",
            "of two factors that are multiplied, start at most one at zero; " + mend(facts, cut),
            f"{listed(zero or cut)}: {len(cut)} parameter{'s' * (len(cut) > 1)} "
            f"{'get' if len(cut) > 1 else 'gets'} no gradient, now or after the first steps, because "
            "every path to the output is zero",
        )
    gone = [
        name
        for name in facts.measured.gradients
        if name in facts.ahead.dead - facts.ahead.cut and facts.roles[name].slot == "weight"
    ]
    if gone:
        yield Finding(
            "zero gradient",
            "warning",
            tuple(gone),
            0.0,
            0.0,
            "a weight whose gradient is zero for every example does not move",
            "look for a function after it that is flat",
            f"{listed(gone)}: the gradient is exactly zero over the whole batch, also after the first "
            "steps",
        )


def starts_at_zero(facts: Facts) -> Iterator[Finding]:
    """Weights and scales that are zero where no recipe has it, though training will move them."""
    names = [
        name
        for name, weight in facts.weights.items()
        if weight.largest == 0
        and weight.gradient is not None
        and name not in facts.ahead.dead | facts.ahead.alike.keys()
        and (facts.roles[name].must_differ or facts.roles[name].slot == "scale")
        and not facts.roles[name].through
        and not facts.is_meant(name)
    ]
    if names:
        yield Finding(
            "starts at zero",
            "warning",
            tuple(names),
            float(len(names)),
            0.0,
            "after a factor of zero all examples are the same until the first step",
            "if that is not intended: " + mend(facts, names),
            f"{listed(names)}: all values are zero, so no signal passes before the first step",
        )


def dead(facts: Facts) -> Iterator[Finding]:
    """Units that no example of the batch makes active."""
    if facts.identical or facts.examples == 1:  # half of all ReLUs rest on any one example
        return
    yield from _share(
        facts,
        "dead units",
        {x.name: x.dead if x.units >= MANY else min(x.dead, DEAD[1]) for x in _reached(facts)},
        DEAD,
        "of the units are in a flat part of the activation for every example and get no gradient",
        "a unit that no example activates gets no gradient (Maas et al. 2013, section 2)",
    )


def saturated(facts: Facts) -> Iterator[Finding]:
    """Values in the flat ends of tanh, the sigmoid and similar functions."""
    yield from _share(
        facts,
        "saturation",
        {x.name: x.saturated for x in _reached(facts)},
        SATURATED,
        "of the values are in a flat end of the activation",
        "a saturated unit passes little gradient (Glorot & Bengio 2010, section 3)",
    )


def _reached(facts: Facts) -> list[LayerHealth]:
    """The layers, except those before a cut (a step function, `detach`): `unused` names it."""
    gradients = facts.measured.gradients
    names = {name for name, size in gradients.items() if size is None and facts.measured.began}
    return [x for x in facts.measured.layers if not {x.name, f"{x.name}.weight"} & names]


def _share(
    facts: Facts,
    name: str,
    shares: dict[str, float],
    limits: tuple[float, float],
    words: str,
    source: str,
) -> Iterator[Finding]:
    for severity, low, high in (
        ("error", limits[1], math.inf),
        ("warning", limits[0], limits[1]),
    ):
        found = [layer for layer, share in shares.items() if low < share <= high]
        if found:
            worst = max(shares[layer] for layer in found)
            yield Finding(
                name,
                severity,
                tuple(found),
                worst,
                low,
                source,
                "look at the bias and the scale before the activation; " + mend(facts, found),
                f"{listed(found)}: up to {worst:.0%} {words}",
            )


def first_step(facts: Facts) -> Iterator[Finding]:
    """A learning rate whose first step is out of proportion to the weights."""
    steps = {
        name: weight.update
        for name, weight in facts.weights.items()
        if weight.update is not None and "weight" in facts.roles[name].slot
    }
    for severity, limit in (("error", STEP[1]), ("warning", STEP[0])):
        far = {name: step for name, step in steps.items() if step > limit}
        if far:
            worst = max(far, key=far.__getitem__)
            yield Finding(
                "first step too large",
                severity,
                tuple(far),
                far[worst],
                limit,
                "a step of a thousandth of the weights is usual",
                f"divide the learning rate by about {far[worst] / 1e-2:.2g}, or use a warmup",
                f"{listed(list(far))}: the first step of {facts.optimizer} changes the weights by up "
                f"to {far[worst]:.3g} of their size",
            )
            return
    if steps and max(steps.values()) < SMALL_STEP:
        worst = max(steps, key=steps.__getitem__)
        yield Finding(
            "first step too small",
            "warning",
            tuple(steps),
            steps[worst],
            SMALL_STEP,
            "a step of a thousandth of the weights is usual",
            "raise the learning rate, or find out why the gradient is so small",
            f"the first step of {facts.optimizer} changes no weight by more than {steps[worst]:.2g} "
            "of its size",
        )


def chance(facts: Facts) -> Iterator[Finding]:
    """A loss at the start that is far from that of a model that knows nothing."""
    loss, level = facts.measured.loss, facts.measured.chance
    if loss is None or level is None or not math.isfinite(loss):
        return
    limit = level + max(ABOVE[0], ABOVE[1] * level)
    if loss > limit:
        far = loss > FAR_ABOVE * limit
        head = [x.name for x in facts.measured.layers][-1:]
        yield Finding(
            "loss above chance",
            "error" if far else "warning",
            tuple(head),
            loss,
            FAR_ABOVE * limit if far else limit,
            "a model that knows nothing gives each of C classes 1/C, and a loss of ln C",
            "make the last layer's weights smaller: " + mend(facts, head),
            f"the loss at initialization is {loss:.3g}, and guessing gives {level:.3g}: the outputs "
            "are too large at initialization",
        )
    elif loss < level / 2:
        yield Finding(
            "loss below chance",
            "warning",
            ("loss",),
            loss,
            level / 2,
            "a model that knows nothing gives each of C classes 1/C, and a loss of ln C",
            "check whether the labels leak into the input, or most of them are one class",
            f"the loss at initialization is {loss:.3g}, less than half of what guessing gives, "
            f"{level:.3g}",
        )
