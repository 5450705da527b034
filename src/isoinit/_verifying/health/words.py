"""What the user of a framework calls to do what a finding advises."""

from __future__ import annotations

from dataclasses import dataclass

from isoinit._verifying.copies import MEND


@dataclass(frozen=True)
class Words:
    """The calls and settings of one framework, as they stand in the advice of findings.

    Attributes:
        init: the call that initializes a model.
        only: how that call names one parameter; it is formatted with the name.
        audit: what tells what an initialization forgot; "" where there is no such verb.
        apply: the call that applies a plan.
        calibrate: the call that measures what a plan expects; "" where there is none.
        seen: what a forward must do for the check to see its layers.
        trained: what makes that a parameter is trained.
        untrained: what makes that it is not.
        nothing: that no parameter of a model is trained, in words.
        cuts: what cuts a gradient off.
        copies: what to do about parameters that are copies.
    """

    init: str
    only: str
    audit: str
    apply: str
    calibrate: str
    seen: str
    trained: str
    untrained: str
    nothing: str
    cuts: str
    copies: str


TORCH = Words(
    init="isoinit.init(model, batch)",
    only="isoinit.init(model, batch, only=[{!r}]) would mend it",
    audit="isoinit.audit tells what an initialization forgot",
    apply="plan.apply(model)",
    calibrate="Plan.calibrate(model, batch) measures",
    seen="runs in Python (a scripted module does not)",
    trained="set requires_grad on what is to be trained",
    untrained="set requires_grad to False",
    nothing="no parameter requires a gradient",
    cuts="detach(), no_grad(), .data or a rounding",
    copies=MEND,
)
JAX = Words(
    init="isoinit.jax.init(model, x)",
    only="isoinit.jax.init(model, x) would mend {}",
    audit="",
    apply="params = plan.fill(params)",
    calibrate="",
    seen="does no more than isoinit.jax.plan can read (see its notes)",
    trained="pass parameters of a floating-point type",
    untrained="leave them out of what is trained",
    nothing="no parameter is of a type that can be trained",
    cuts="stop_gradient or a rounding",
    copies="draw each by itself: isoinit.jax.init(model, x)",
)
