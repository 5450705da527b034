"""What the user of a framework calls to do what a finding advises."""

from __future__ import annotations

from dataclasses import dataclass

from isoinit._verifying.copies import MEND


@dataclass(frozen=True)
class Words:
    """The calls and settings of one framework, as they stand in the advice of findings.

    Attributes:
        init: the call that initializes a model.
        only: the call that fixes one parameter; it is formatted with the name.
        audit: the call that finds what an initialization forgot; "" where there is no such verb.
        apply: the call that applies a plan.
        calibrate: the call that measures what a plan expects; "" where there is none.
        seen: what a forward must do for the check to see its layers.
        trained: how to make a parameter trained.
        untrained: how to make it untrained.
        nothing: that no parameter of a model is trained, in words.
        cuts: what stops a gradient.
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
    only="isoinit.init(model, batch, only=[{!r}]) fixes it",
    audit="isoinit.audit finds tensors that nothing initializes",
    apply="plan.apply(model)",
    calibrate="Plan.calibrate(model, batch) measures",
    seen="runs in Python (a scripted module does not)",
    trained="set requires_grad on the parameters to be trained",
    untrained="set requires_grad to False",
    nothing="no parameter requires a gradient",
    cuts="detach(), no_grad(), .data or a rounding",
    copies=MEND,
)
JAX = Words(
    init="isoinit.jax.init(model, x)",
    only="isoinit.jax.init(model, x) fixes {}",
    audit="",
    apply="params = plan.fill(params)",
    calibrate="",
    seen="uses only operations that isoinit.jax.plan can read (see the notes of the plan)",
    trained="pass parameters of a floating-point dtype",
    untrained="leave them out of the trained parameters",
    nothing="no parameter has a dtype that can be trained",
    cuts="stop_gradient or a rounding",
    copies="draw each separately: isoinit.jax.init(model, x)",
)
