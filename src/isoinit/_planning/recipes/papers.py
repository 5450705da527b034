"""Published recipes, as tables: which role gets which initializer, and where that is written.

Roles come from the traced graph and not from names, so a recipe works on any implementation of its
architecture. The first row that applies decides. What a recipe does not speak of gets the rule
book's choice, and the entry says so. To add a recipe, add a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from isoinit._planning.rules import Choice, choose
from isoinit._planning.rules.sizes import neutral
from isoinit._reading.graph import Graph, Op
from isoinit._reading.pointwise import feeding
from isoinit._reading.roles import Role
from isoinit.errors import PlanError
from isoinit.initializers import (
    Constant,
    Initializer,
    Normal,
    TruncatedNormal,
    XavierUniform,
    Zeros,
)
from isoinit.initializers.scale import fans

# The deviation that is left of a standard normal cut at ±2; flax divides by it.
CUT = TruncatedNormal().std_for(fans.vector((1,)))


@dataclass(frozen=True)
class Fact:
    """What the recipes ask about one parameter.

    Attributes:
        role: what it is for.
        of: for a bias, the role of the weight that it stands beside; for any other its own.
        first: whether its layer reads the example itself.
        behind: the activation that its layer's input comes through; empty if none.
    """

    role: Role
    of: Role
    first: bool = False
    behind: str = ""

    @property
    def in_mlp(self) -> bool:
        """Whether its layer stands before or behind an activation."""
        return self.of.slot == "weight" and (self.of.activation is not None or bool(self.behind))


@dataclass(frozen=True)
class Row:
    """One row of a recipe: who gets what, why, and where that is written."""

    applies: Callable[[Fact], bool]
    initializer: Callable[[Fact], Initializer]
    reason: str
    source: str


@dataclass(frozen=True)
class Paper:
    """A published recipe: its rows, and what a model must have to be one that it speaks of."""

    rows: tuple[Row, ...]
    needs: tuple[tuple[str, Callable[[Fact], bool]], ...]


def _slot(*slots: str) -> Callable[[Fact], bool]:
    return lambda fact: fact.role.slot in slots


def _conv(fact: Fact) -> bool:
    return fact.role.slot == "weight" and fact.role.layout.kind == "conv"


def _head(fact: Fact) -> bool:
    return fact.of.slot == "weight" and fact.of.end == "output" and not fact.of.ends_branch


def _ends_branch(fact: Fact) -> bool:
    return fact.role.slot == "weight" and fact.role.ends_branch


def _norm_scale(fact: Fact) -> bool:
    return fact.role.slot == "scale" and fact.role.of_norm


def _last_norm(fact: Fact) -> bool:
    return _norm_scale(fact) and fact.role.ends_branch


def _patches(fact: Fact) -> bool:
    return fact.role.slot == "weight" and (_conv(fact) or fact.first)


def _saturates(fact: Fact) -> bool:
    return fact.of.activation is not None and fact.of.activation.name == "tanh"


def _neutral(fact: Fact) -> Initializer:
    """Return the value at which a scale, shift or bias does nothing."""
    return neutral(fact.role)


def _silent(fact: Fact) -> Initializer:
    """The value at which a norm scale lets nothing through; 1 + w does so at -1."""
    return Zeros() if fact.role.neutral != 0 else Constant(-1.0)


def _always(initializer: Initializer) -> Callable[[Fact], Initializer]:
    return lambda _: initializer


def _by_depth(fact: Fact) -> Initializer:
    return Normal(std=0.02 / math.sqrt(fact.role.branches))


def _flax_lecun(fact: Fact) -> Initializer:
    """What flax draws by default: variance 1/fan_in, from a normal cut at ±2 of its deviations."""
    return TruncatedNormal(std=1 / math.sqrt(fact.role.layout.fan_in) / CUT)


def _he_fan_out(fact: Fact) -> Initializer:
    """He et al. 2015, eq. 14: 2 over kernel positions times filters, whatever the stride."""
    _, n_out, _, taps = fact.role.layout.maps_shape
    return Normal(std=math.sqrt(2 / (n_out * taps)))


_WEIGHTS = _slot("weight", "table")
_SHIFTS = _slot("bias", "shift")
_NEEDS_TRANSFORMER = (
    ("embedding", _slot("table")),
    ("weights that end a residual branch", _ends_branch),
    ("norm layers", _norm_scale),
)
_GPT2 = "Radford et al. 2019; openai/gpt-2, src/model.py"
_LLAMA = (
    "transformers, LlamaConfig.initializer_range; Touvron et al. 2023 publish no initialization"
)
_BERT = "Devlin et al. 2019; google-research/bert, modeling.py"
_VIT = "Dosovitskiy et al. 2021; google-research/vision_transformer, models_vit.py"
_GOYAL = "Goyal et al. 2017, section 5.1"


def _rest(source: str) -> tuple[Row, ...]:
    """Scales that change nothing, biases that add nothing."""
    return (
        Row(_norm_scale, _neutral, "norm scales start without effect", source),
        Row(_SHIFTS, _neutral, "biases and shifts start at zero", source),
    )


PAPERS: dict[str, Paper] = {
    "paper:gpt2": Paper(
        (
            Row(_slot("position"), _always(Normal(std=0.01)), "learned positions", _GPT2),
            Row(
                _ends_branch,
                _by_depth,
                "0.02 divided by the square root of the number of residual branches",
                "Radford et al. 2019, section 2.3",
            ),
            Row(_WEIGHTS, _always(Normal(std=0.02)), "every other weight", _GPT2),
            *_rest(_GPT2),
        ),
        _NEEDS_TRANSFORMER,
    ),
    "paper:llama": Paper(
        (
            Row(_WEIGHTS, _always(Normal(std=0.02)), "every weight", _LLAMA),
            *_rest(_LLAMA),
        ),
        _NEEDS_TRANSFORMER,
    ),
    "paper:bert": Paper(
        (
            Row(
                _slot("weight", "table", "position", "token"),
                _always(TruncatedNormal(std=0.02)),
                "every weight and embedding, truncated at two standard deviations",
                _BERT,
            ),
            *_rest(_BERT),
        ),
        _NEEDS_TRANSFORMER,
    ),
    "paper:vit": Paper(
        (
            Row(_slot("position"), _always(Normal(std=0.02)), "learned positions", _VIT),
            Row(_slot("token"), _always(Zeros()), "the class token", _VIT),
            Row(_patches, _flax_lecun, "the projection of the patches", _VIT),
            Row(
                lambda f: f.role.slot == "weight" and f.in_mlp and _saturates(f),
                _flax_lecun,
                "before the head (pre_logits)",
                _VIT,
            ),
            Row(
                lambda f: f.role.slot in ("weight", "bias") and _head(f),
                _always(Zeros()),
                "the head",
                _VIT,
            ),
            Row(
                lambda f: f.role.slot == "bias" and f.in_mlp and not _saturates(f),
                _always(Normal(std=1e-6)),
                "a bias of the MLP",
                _VIT,
            ),
            Row(_slot("weight"), _always(XavierUniform()), "attention and MLP", _VIT),
            *_rest(_VIT),
        ),
        (
            ("learned positions", _slot("position")),
            ("projection of patches", _patches),
            ("weights that end a residual branch", _ends_branch),
            ("norm layers", _norm_scale),
        ),
    ),
    "paper:resnet": Paper(
        (
            Row(
                _conv,
                _he_fan_out,
                "ReLU follows; scaled for the gradient",
                "He et al. 2015, eq. 14; He et al. 2016, section 3.4",
            ),
            Row(_last_norm, _silent, "the last norm of a block, which starts as its skip", _GOYAL),
            Row(_slot("weight"), _always(Normal(std=0.01)), "the fully connected layer", _GOYAL),
            *_rest("Ioffe & Szegedy 2015; Goyal et al. 2017, section 5.1"),
        ),
        (
            ("convolutions", _conv),
            ("norm layers", _norm_scale),
            ("residual sums whose branch ends in a norm layer", _last_norm),
        ),
    ),
}


def paper_choices(
    recipe: str, graph: Graph, roles: dict[str, Role]
) -> dict[str, tuple[Role, Choice]]:
    """What a published recipe gives each parameter.

    Args:
        recipe: one of `PAPERS`.
        graph: what was read of the model.
        roles: what each parameter is for.

    Raises:
        PlanError: if the model lacks what the recipe speaks of; names it.

    Example:
        >>> import isoinit, torch
        >>> isoinit.plan(torch.nn.Linear(4, 2), torch.zeros(1, 4), recipe="paper:llama")
        Traceback (most recent call last):
        isoinit.errors.PlanError: recipe='paper:llama' does not fit the model: it has no embedding, ...
    """
    facts = {name: _fact(graph, roles, name) for name in roles}
    missing = [what for what, has in PAPERS[recipe].needs if not any(map(has, facts.values()))]
    if missing:
        mend = "Follow another recipe, or plan without one"
        if graph.how == "structure":
            mend = "Pass a batch: the model was read only from its modules, which do not show all"
        raise PlanError(
            f"recipe={recipe!r} does not fit the model: it has no {', no '.join(missing)}. Nothing "
            f"was changed. {mend}"
        )
    return {name: (fact.role, _choice(PAPERS[recipe], fact)) for name, fact in facts.items()}


def _choice(recipe: Paper, fact: Fact) -> Choice:
    for row in recipe.rows:
        if row.applies(fact):
            return Choice(row.initializer(fact), row.reason, row.source)
    choice = choose(fact.role)
    reason = f"the recipe does not cover it; by the rule book: {choice.reason}"
    return Choice(choice.initializer, reason, choice.source)


def _fact(graph: Graph, roles: dict[str, Role], name: str) -> Fact:
    role = roles[name]
    uses = graph.uses_of(name)
    if not uses or role.slot not in ("weight", "bias"):
        return Fact(role, role)
    op = _layer(graph, uses[0][0])
    weight = next((use.parameter for use in op.uses if use.slot == "weight"), name)
    if not op.inputs:
        return Fact(role, roles[weight])
    feed = feeding(graph, op.inputs[0])
    first = bool(feed.sources) and all(source.kind == "input" for source in feed.sources)
    return Fact(role, roles[weight], first, feed.activation.name if feed.activation else "")


def _layer(graph: Graph, op: Op) -> Op:
    """The layer that an operation with a bias of its own belongs to."""
    while op.is_neutral and all(use.slot != "weight" for use in op.uses):
        maker = graph.producers.get(graph.trunk(op.inputs[0]))
        if maker is None:
            break
        op = maker
    return op
