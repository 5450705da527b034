"""What makes a check impossible or a model useless at once: nothing measured, nothing finite."""

from __future__ import annotations

import math
from collections.abc import Iterator

from isoinit._showing.findings import Finding, listed
from isoinit._verifying.health.facts import Facts
from isoinit._verifying.health.records import Trouble
from isoinit._verifying.health.remedy import shrink

# No initializer draws beyond it, and no training starts from it; memory that nothing has written
# holds numbers of any size.
LARGEST = 1e6


def unmeasured(facts: Facts) -> Iterator[Finding]:
    """A model with weight matrices, of which the forward showed none: no verdict is possible."""
    tables = {name for name, role in facts.roles.items() if role.slot in ("table", "position")}
    matrices = [n for n, p in facts.parameters.items() if len(p.shape) > 1 and n not in tables]
    if matrices and not facts.measured.layers:
        yield Finding(
            "nothing measured",
            "error",
            tuple(matrices),
            0.0,
            1.0,
            "without a measured layer there is no verdict about the model",
            f"check that the forward pass uses the weights and {facts.words.seen}",
            f"{listed(matrices)}: the forward pass showed no use of these weights",
        )


def parameters_not_finite(facts: Facts) -> Iterator[Finding]:
    """Parameters that hold NaN, infinity, or numbers that no initializer draws."""
    bad = [n for n, w in facts.weights.items() if not math.isfinite(w.largest)]
    if bad:
        yield Finding(
            "not finite",
            "error",
            tuple(bad),
            math.nan,
            math.inf,
            "a value that is not finite makes every later one so",
            _fill(facts),
            f"{listed(bad)}: the parameter holds NaN or infinity",
        )
    huge = {
        n: w.largest
        for n, w in facts.weights.items()
        if LARGEST < w.largest < math.inf and n in facts.trained
    }
    if huge:
        most = max(huge.values())
        yield Finding(
            "not initialized",
            "error",
            tuple(huge),
            most,
            LARGEST,
            "memory that nothing has written can hold any number",
            _fill(facts),
            f"{listed(list(huge))}: the parameter holds values up to {most:.3g}, larger than any "
            "initializer draws",
        )


def _fill(facts: Facts) -> str:
    """What to do about parameters that nothing has filled."""
    parts = [f"initialize them: {facts.words.init}", facts.words.audit]
    return "; ".join(part for part in parts if part)


def trouble(facts: Facts) -> Iterator[Finding]:
    """The operation that first made a NaN or an infinity."""
    found = facts.measured.trouble
    if found is None:
        return
    holding = [n for n in found.parameters if not math.isfinite(facts.weights[n].largest)]
    near = found.near or "the input"
    at = f" ({found.line})" if found.line else ""
    way = "in the backward pass" if found.backward else "in the forward pass"
    made = f"{found.op} at {near}{at} makes the first {found.what} {way}"
    if found.op == "the batch":
        made = f"the batch holds {found.what}"
    if holding:
        made += f", from {listed(holding)}"
    yield Finding(
        "not finite",
        "error",
        (*holding, near),
        math.nan,
        math.inf,
        "a value that is not finite makes every later one so",
        _what_to_do(facts, found, holding),
        made,
    )


def _what_to_do(facts: Facts, found: Trouble, holding: list[str]) -> str:
    """What to do about the operation that made the first NaN or infinity.

    Smaller weights mend an overflow alone: log(0), 0/0 and a softmax of nothing stay what they are.
    """
    if holding:
        return _fill(facts)
    look = "look at the inputs of this operation"
    if found.backward or found.what != "infinity":
        return look
    layers = [layer.name for layer in facts.measured.layers]
    before = layers[: layers.index(found.near) + 1] if found.near in layers else []
    return "; ".join(part for part in (look, shrink(facts, before)) if part)


def loss_not_finite(facts: Facts) -> Iterator[Finding]:
    """A loss that is NaN or infinite though the layers are finite."""
    loss, found = facts.measured.loss, facts.measured.trouble
    earlier = found is not None and not found.backward
    if loss is not None and not math.isfinite(loss) and not earlier:
        yield Finding(
            "loss not finite",
            "error",
            ("loss",),
            loss,
            math.inf,
            "a loss that is not finite has no gradient",
            "look at the loss function and its labels",
            f"the loss is {loss}",
        )


def nothing_to_train(facts: Facts) -> Iterator[Finding]:
    """A forward pass whose output depends on no trained parameter."""
    trained = [name for name in facts.parameters if name in facts.trained]
    if not trained:
        yield Finding(
            "nothing trained",
            "warning",
            tuple(facts.parameters),
            0.0,
            1.0,
            "a parameter without a gradient is never trained",
            facts.words.trained,
            f"{facts.words.nothing}, so only the forward pass was measured",
        )
    elif not facts.measured.began:
        what = "no tensor with a gradient" if facts.measured.outputs else "no tensor"
        yield Finding(
            "nothing returned",
            "error",
            tuple(trained),
            0.0,
            1.0,
            "the loss is computed from the output of the forward pass",
            f"return the output, without {facts.words.cuts}",
            f"the forward pass returned {what}, so no parameter can be trained",
        )
