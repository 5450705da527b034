"""A transfer for optax: each parameter trained by its own multiple of what was tuned.

`optax.multi_transform` holds one transformation for each group of parameters that share a learning
rate, a decay and an ε. Their ratios are fixed when it is made: a schedule moves all of them alike, so
nothing has to watch over them. Parameters are found by name in whatever tree optax is given.

Where optax differs from torch: `optax.adam` and `optax.sgd` have no weight decay, so that it is added
to the gradient here, as torch does. `eps_root` stands inside the root beside the squared gradient, so
that its factor is that of ε squared. `optax.adamw` multiplies decay by the learning rate, and adds ε
behind the root and the bias correction, both as torch does. Its Muon divides by ‖m‖ + ε and not by
max(‖m‖, ε), and is told which axes are inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import optax

from isoinit._planning.plan import Plan
from isoinit._planning.transfer.optimizers.grouping import Group, grouped
from isoinit._planning.transfer.optimizers.ranges import require_range
from isoinit._planning.transfer.rules import ADJUSTED, Rules, matrix_sides
from isoinit._showing.findings import listed
from isoinit._writing.entry import Entry
from isoinit.errors import ArgumentError, PlanError
from isoinit.initializers import Blocks
from isoinit.initializers.scale.fans import Layout
from isoinit.jax.spelling import is_array, is_inexact, named_leaves, with_leaves

HELD = "held"  # the label of what is not trained
ADAM = ("b1", "b2", "eps_root", "mu_dtype", "nesterov")
OF_ADAM = ("adam_learning_rate", "adam_weight_decay", "adam_b1", "adam_b2", "adam_eps_root")
OF_MUON = ("ns_coeffs", "ns_steps", "beta", "mu_dtype", "nesterov", "preconditioning")
SETTINGS = MappingProxyType(
    {
        "adamw": ADAM,
        "adam": ADAM,
        "sgd": ("momentum", "nesterov", "accumulator_dtype"),
        "muon": (*OF_MUON, *OF_ADAM),
    }
)
Scalar = Any  # a number, an array of one element, or a schedule of such


def optimizer(
    plan: Plan,
    learning_rate: Scalar,
    weight_decay: Scalar,
    eps: Any,
    *,
    decay_vectors: bool,
    settings: Mapping[str, Any],
) -> optax.GradientTransformationExtraArgs:
    """Return what trains a model as a transfer says: see `Transfer.optimizer`."""
    assert plan.transfer is not None
    made_for = plan.transfer.optimizer.partition(":")[0]
    _refuse_settings(made_for, settings)
    groups = grouped(plan, decay_vectors=decay_vectors)
    given = {"learning_rate": learning_rate, "weight_decay": weight_decay, "eps": eps}
    given |= {"adam_learning_rate": learning_rate, "adam_weight_decay": 0.0, **settings}
    if "muon" in {group.optimizer for group in groups.values()}:
        _refuse_old_optax()
    for name, value in given.items():
        if name.removeprefix("adam_") in ("learning_rate", "weight_decay", "eps", "eps_root"):
            _require_range(name, value, above=name.endswith("learning_rate"))
    labels = {name: group.name for group in groups.values() for name in group.members}
    held = (e.name for e in plan if e.factors is not None and e.factors.kind == "frozen")
    labels.update(dict.fromkeys(held, HELD))
    transforms = {name: _trained(plan, group, given) for name, group in groups.items()}
    return optax.multi_transform({**transforms, HELD: optax.set_to_zero()}, _labels(plan, labels))


def clip_by_global_norm(plan: Plan, max_norm: Any) -> optax.GradientTransformation:
    """Return what clips updates: see `Transfer.clip_by_global_norm`."""
    _require_range("max_norm", max_norm)

    def clipped(updates: Any, _params: Any = None) -> Any:
        found, leaves = owned(plan, updates), named_leaves(updates)
        ours = {name: leaves[name] * _gauge(plan, own) for name, own in found.items()}
        norm = optax.tree.norm(ours) if hasattr(optax, "tree") else optax.global_norm(ours)

        def clip(leaf: Any) -> Any:
            by = norm.astype(leaf.dtype)
            return jax.numpy.where(norm < max_norm, leaf, leaf / by * max_norm).astype(leaf.dtype)

        return with_leaves(updates, {name: clip(leaves[name]) for name in found})

    return optax.stateless(clipped)


def _gauge(plan: Plan, name: str) -> float:
    factors = plan[name].factors
    return 1.0 if factors is None else factors.gauge


# Parameters by name


def owned(plan: Plan, tree: Any) -> dict[str, str]:
    """Return the plan's name of each array of numbers in a tree, by the tree's name for it.

    A tree with some of the plan's parameters is fine: the others are trained elsewhere, or not.

    Raises:
        PlanError: if names or shapes are not the plan's, naming all that differ.
    """
    leaves = {n: leaf for n, leaf in named_leaves(tree).items() if is_inexact(leaf)}
    found = {name: plan.aliases.get(name, name) for name in leaves}
    faults, firsts = [], dict[str, str]()
    for name, own in found.items():
        if own not in plan.entries:
            continue
        shape, planned = tuple(leaves[name].shape), plan.entries[own].shape
        if shape != planned:
            faults.append(f"{name!r} has shape {shape}, but {planned} in the plan of the transfer")
        elif firsts.setdefault(own, name) != name:
            faults.append(f"{name!r} was tied to {firsts[own]!r} in the plan, but is not tied now")
    strange = [repr(name) for name, own in found.items() if own not in plan.entries]
    if strange:
        faults.append(
            f"the plan has no parameter {listed(strange)}; it has {_few(plan)}{_hint(plan, leaves)}"
        )
    if not found:
        faults.append(f"the tree holds none of the parameters of the plan ({_few(plan)})")
    if faults:
        raise PlanError(
            f"{'; '.join(faults)}. Pass optax the parameters of the target model of this transfer"
        )
    return found


def _few(plan: Plan) -> str:
    return listed([repr(name) for name in plan.entries])


def _hint(plan: Plan, leaves: Mapping[str, Any]) -> str:
    """Return what may be wrong with the names of a tree; "" where nothing shows."""
    outer = next(iter(leaves)).partition(".")[0]
    if all(name.removeprefix(f"{outer}.") in plan.entries for name in leaves):
        return f" (inside {outer!r}: pass the tree in it)"
    return ""


def _labels(plan: Plan, labels: Mapping[str, str]) -> Callable[[Any], Any]:
    """Return what labels the leaves of a tree by the group that trains each."""
    bare = [name for name in plan.entries if name not in labels]

    def label(tree: Any) -> Any:
        if not jax.tree_util.tree_leaves(tree) and not isinstance(tree, Mapping | Sequence):
            return HELD  # `optax.tree_map_params` asks with a mark in place of the parameters
        found = owned(plan, tree)
        for name, own in found.items():
            if own in bare:
                raise PlanError(
                    f"the plan's entry for {name!r} has no factors. Make the transfer again"
                )
        # Arrays of integers, and keys: no number of them is trained.
        return with_leaves(tree, {n: labels[found[n]] if n in found else HELD
                                  for n in named_leaves(tree)})  # fmt: skip

    return label


# Transformations


def _trained(
    plan: Plan, group: Group, given: Mapping[str, Any]
) -> optax.GradientTransformationExtraArgs:
    """Return what trains the parameters of a group."""
    assert plan.transfer is not None
    adam = group.optimizer != "muon" and plan.transfer.optimizer in ADJUSTED
    prefix = "adam_" if adam else ""
    own = {name: given[prefix + name] for name in ADAM if prefix + name in given}
    rate = optax.scale_by_learning_rate(scaled(given[f"{prefix}learning_rate"], group.lr))
    decay = scaled(given[f"{prefix}weight_decay"], group.decay)
    decayed = [optax.add_decayed_weights(decay)] if group.decay else []
    if group.optimizer == "muon":
        return optax.chain(*_muon(plan, group, given), *decayed, rate)
    if group.optimizer == "sgd":
        return optax.chain(*decayed, *_momentum(given), rate)
    assert group.eps is not None
    own["eps_root"] = own.get("eps_root", 0.0) * group.eps**2
    step = optax.scale_by_adam(eps=given["eps"] * group.eps, **own)
    first, second = ([step], decayed) if group.optimizer == "adamw" else (decayed, [step])
    return optax.chain(*first, *second, rate)


def _momentum(given: Mapping[str, Any]) -> Sequence[optax.GradientTransformation]:
    momentum = given.get("momentum")
    if momentum is None:
        return ()
    more = {n: given[n] for n in ("nesterov", "accumulator_dtype") if n in given}
    return (optax.trace(momentum, **more),)


def _muon(
    plan: Plan, group: Group, given: Mapping[str, Any]
) -> Sequence[optax.GradientTransformation]:
    """Return Muon's step for matrices of any axes, with its own factor for their shapes."""
    from optax import contrib

    assert plan.transfer is not None
    assert group.eps is not None
    rules = Rules(plan.transfer.optimizer, oriented=True)
    sides = {name: _sides(plan[name]) for name in group.members}
    times = {name: rules.adjusted(rules.shape_of(_layout(plan[name]))) for name in group.members}

    def by_name(tree: Any, of: Callable[[str, Any], Any]) -> Any:
        found = owned(plan, tree)
        return with_leaves(tree, {n: of(found[n], leaf) for n, leaf in named_leaves(tree).items()})

    def axes(tree: Any) -> Any:
        return by_name(tree, lambda name, _: contrib.MuonDimensionNumbers(*sides[name][::-1]))

    more = {name: given[name] for name in OF_MUON if name in given}
    eps = given["eps"] * group.eps
    return (
        contrib.scale_by_muon(eps=eps, weight_dimension_numbers=axes, **more),
        optax.stateless(lambda tree, _=None: by_name(tree, lambda n, leaf: leaf * times[n])),
    )


def _sides(entry: Entry) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes of a matrix that are outputs, and those that are inputs."""
    sides = matrix_sides(_layout(entry))
    assert sides is not None, "only matrices are for Muon"
    return sides


def _layout(entry: Entry) -> Layout:
    """Return what the axes of a parameter mean; of a stack of unlike layers, those of a layer."""
    return entry.initializer.layouts[0] if isinstance(entry.initializer, Blocks) else entry.layout


def scaled(value: Scalar, times: float) -> Scalar:
    """Return a number, or a schedule of one, times a factor."""
    if callable(value):
        return lambda count: value(count) * times
    return value * times


# What is refused


def _refuse_settings(made_for: str, settings: Mapping[str, Any]) -> None:
    known = SETTINGS[made_for]
    for name in settings:
        if name not in known:
            raise ArgumentError(
                f"{name}={settings[name]!r}: a transfer for {made_for!r} takes "
                f"{', '.join(known)}. For another optimizer, make another transfer"
            )


def _require_range(name: str, value: Scalar, *, above: bool = False) -> None:
    """Raise for a number that is out of range; what is only known later passes."""
    if callable(value) or isinstance(value, jax.core.Tracer):
        return
    number = is_array(value) and math.prod(value.shape) == 1 and is_inexact(value)
    require_range(name, float(value.reshape(())) if number else value, above=above)


def _refuse_old_optax() -> None:
    from optax import contrib

    if not hasattr(contrib, "MuonDimensionNumbers"):
        raise ArgumentError(
            f"optax {optax.__version__} has a Muon only for arrays with two axes. Install optax "
            "0.2.6 or later, or make the transfer for 'adamw'"
        )
