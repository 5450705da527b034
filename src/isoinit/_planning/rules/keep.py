"""What keeps the values that it has: what is not trained, and what the constructor meant by them.

A constructor that fills a parameter at random, or with the number that is neutral for its role, leaves
the start to a plan. Anything else that it wrote stands for something, and is kept; a rule that wants
exactly such a value may still choose, and says so.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from isoinit._drawing.streams import Stream
from isoinit._planning.held import Held
from isoinit._planning.rules.choice import Choice
from isoinit._planning.rules.sizes import neutral
from isoinit._planning.rules.table import RULES
from isoinit._reading.roles import Role
from isoinit._reading.values import FEW, SAMPLE, Values, is_unround, look
from isoinit.errors import IsoinitError
from isoinit.initializers import Constant, Initializer, Ones, Zeros

INSISTING = frozenset(rule.name for rule in RULES if rule.insists)
TRAINED = ("loaded", "only")  # whose rows are no independent draws: what they do is measured
ADDED = ("position", "token")  # what zero is neutral for: it joins the signal
VECTORS = ("bias", "shift", "scale", "slope", "input bias", "recurrent bias")


def kept(role: Role, choice: Choice, *, asked: bool) -> Choice:
    """Return the choice, or one that keeps what the parameter holds, with the reason.

    Args:
        role: what the parameter is for, and what is known of its values.
        choice: what the rule book, or a method, gives it.
        asked: whether a method was asked for that decides over what the constructor meant.
    """
    before = role.before
    if before is None or (before.kind == "unwritten" and not before.kept):
        return choice
    if before.kept:
        return _kept(role, choice, before, before.kept, before.because)
    if asked or role.slot in ("part", "length") or not _means_something(role, before):
        return choice
    if _is_drawn_alike(choice.initializer, role, before):
        return choice
    if choice.rule in INSISTING:
        return replace(choice, reason=f"{choice.reason}; its constructor gives it {before.said}")
    return _kept(role, choice, before, "own", f"its constructor gives it {before.said}")


def _kept(role: Role, choice: Choice, before: Values, kind: str, because: str) -> Choice:
    """Return a choice that keeps the values, as a constant where they are one."""
    made: Initializer | None = None
    if before.kind == "constant" and kind == "own":
        made = {0.0: Zeros(), 1.0: Ones()}.get(before.mean, Constant(before.mean))
    return replace(
        choice,
        initializer=made,
        reason=f"kept: {because}",
        source="",
        rule="",
        close=(),
        kept=kind,
        held=None if kind in TRAINED and role.layout.is_map else _stands_for(role, before),
        copies=before.copies,
        grown=None,
    )


def _stands_for(role: Role, before: Values) -> Initializer | None:
    """Return what draws values of the same moments; None where these do not tell what they do.

    What a weight does depends on more than its moments, unless its elements are independent.
    """
    if before.kind == "unwritten" or not math.isfinite(before.second):
        return None
    if not before.std > 0 or before.kind == "constant":
        return Constant(before.mean)
    looked_up = role.slot == "table" or role.slot in ADDED
    if role.layout.is_map and before.kind != "random" and not looked_up:
        return None
    return Held(before.mean, before.std, before.alike)


def _means_something(role: Role, before: Values) -> bool:
    """Return whether values are neither a random fill nor what is neutral for a role."""
    if before.kind == "constant":
        return not _is_neutral(role, before)
    if before.kind == "structured" or before.kind == "few":
        return True
    if role.slot not in VECTORS:
        return abs(before.mean) > 3 * before.std
    if role.parts:
        return True
    start = neutral(role).mean_for(role.layout)
    centred = before.centred_on(0.0) or before.centred_on(start)
    return not (centred or _may_be_drawn(role, before))


def _may_be_drawn(role: Role, before: Values) -> bool:
    """Return whether a few biases may be what a layer of a few units draws: small, and unround."""
    if role.slot != "bias" or before.sample is None or before.sample.size >= FEW:
        return False
    values = before.sample.ravel().tolist()
    return all(abs(value) < 1 for value in values) and 2 * sum(map(is_unround, values)) > len(
        values
    )


def _is_neutral(role: Role, before: Values) -> bool:
    """Return whether a constant says nothing of a role: it is what anybody starts from."""
    value = before.mean
    if role.slot in ADDED:  # rows that are all alike would stay so
        return value == 0 or math.prod(role.layout.shape[:-1]) > 1
    if role.slot == "unknown":
        return value == 0
    if role.slot in VECTORS:
        start = 1.0 if role.slot == "slope" else neutral(role).mean_for(role.layout)
        return value == start or _may_be_drawn(role, before)
    return bool(value) and role.must_differ  # units that are all alike learn no more than one


def _is_drawn_alike(initializer: Initializer | None, role: Role, before: Values) -> bool:
    """Return whether an initializer gives a parameter values that look just as those that it has."""
    size = math.prod(role.layout.shape)
    if initializer is None or not 0 < size <= 1 << 20:
        return False
    flat = np.empty(size)
    try:
        initializer.fill(flat, Stream(0, "alike"), role.layout)
    except IsoinitError:  # only a model knows what it draws, or it does not fit
        return False
    drawn = look(flat.reshape(role.layout.shape))
    if size <= SAMPLE and before.sample is not None and drawn.kind != "random":
        wide = float(np.abs(flat).max()) * 1e-6
        if np.allclose(before.sample.ravel(), flat, rtol=1e-6, atol=wide):
            return True
    return drawn.kind == "structured" and not initializer.is_constant and drawn.said == before.said
