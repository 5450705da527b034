"""Where no choice can keep signal and gradient alive: what a plan says of it."""

from __future__ import annotations

from isoinit._planning.rules import sine_frequency
from isoinit._reading.plain_stacks import Chain
from isoinit._reading.roles import Role


def doubts(roles: dict[str, Role]) -> tuple[str, ...]:
    """Return where no choice can keep signal and gradient alive: why, and what would."""
    found: dict[Chain, list[str]] = {}
    for role in roles.values():
        if role.slot != "weight" or role.chain is None or sine_frequency(role):
            continue  # fast sines have weights of their own
        if role.chain.hopeless:
            found.setdefault(role.chain, []).append(role.parameter)
    return tuple(_doubt(chain, names) for chain, names in found.items())


def _doubt(chain: Chain, names: list[str]) -> str:
    """Return the warning about the weights of one deep plain chain."""
    where = (
        f"{chain.length} layers in a row are joined by {chain.hopeless} alone ({names[0]!r} to "
        f"{names[-1]!r})"
    )
    safe = "a norm layer every few layers or residual branches"
    if chain.unknown:
        return (
            f"{where}, which is not followed: whether signal and gradient live through them is not "
            f"known, and isoinit.check measures it; {safe} would be safe"
        )
    biases = "biases in these layers, " if chain.unbiased else ""
    return (
        f"{where}: no weights are known to keep the signal, its gradient and the difference between "
        f"examples alive through them; {biases}{safe}, or another activation would"
    )
