"""What each parameter is for, read from the graph: the facts that the rules decide on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from isoinit._reading.activation import Activation
from isoinit._reading.estimates import is_estimate
from isoinit._reading.few_inputs import Feature, reads_few
from isoinit._reading.graph import Graph, Join, Op, Use
from isoinit._reading.plain_stacks import Chain, read_plain_stacks
from isoinit._reading.pointwise import Feed, feeding, following
from isoinit._reading.recurrent import Looped, read_loops
from isoinit._reading.scores import scale_of_output
from isoinit._reading.subgraphs import Motif, read_subgraphs
from isoinit._reading.values import Values
from isoinit._system.collecting import uncollected
from isoinit.initializers import Initializer
from isoinit.initializers.scale import fans
from isoinit.initializers.scale.fans import Layout

DIVIDING = frozenset({"div", "reciprocal", "rsqrt", "log"})


@dataclass(frozen=True)
class Beside:
    """The weight of a layer, for its bias: its name, its layout, and what it gets."""

    weight: str
    layout: Layout
    initializer: Initializer


@dataclass(frozen=True)
class Role:
    """What a parameter is for.

    Attributes:
        parameter: its name.
        slot: what the operation does with it: see `graph.Use`; "part" if it follows from a weight
            that is computed of it; "returned" if the model returns it, and does not apply it to the
            signal; "unknown" if no operation that used it is understood.
        layout: what its axes mean.
        op: the name of the operation that uses it.
        activation: for a weight, or a scale that ends a residual branch, the function that follows;
            None where none does.
        end: for a weight, the operation that its signal goes to next.
        branches: where it ends a residual branch, how many that stream collects.
        norm: whether a norm layer stands between the weight and what follows.
        ends_branch: whether its output is added to a residual stream.
        of_norm: whether it is the scale or shift of a norm layer, also of one spelled out in steps.
        through: the operations that the parameter itself goes through first: ("add",) for 1 + w.
        neutral: for a bias, scale or shift, the value at which it does nothing; None if not known.
        tied: its other slot, where two layers share it: an embedding that is also the output layer.
        tied_scale: what a constant of the model multiplies the output by, where the tied one gives it.
        guess: whether it was read from the modules alone, because no run of the model used it.
        fed: for a weight, the function whose output is its input; None where that is none, or more.
        between: the names of the operations between that and the weight.
        source: for a weight, where what feeds it comes from: "input", "weight", "norm", "residual",
            or several of them: "norm, weight".
        estimate: whether a weight gives the model's output, and that has the form of its input, or is
            one number.
        reads_state: whether a weight gives the model's output from the state of a recurrent layer, of
            torch's or of a loop.
        chain: for a weight or bias, the deep plain chain that its layer is part of.
        motif: what it is in a small pattern that a paper has its own rule for.
        second: the second moment that the layer gets, if all layers before it are as planned.
        joined: the second moment of what rows of a table are added to; 0 where that is not known.
        mean: the mean of what the layer gets, where that is known.
        followed: whether that is known; where it is not, unit size is taken for granted.
        lost: where it is not, the operation that the signal gets lost in.
        measured: whether it was measured in a run of the model, since it could not be worked out.
        start: for a weight that ends a residual branch, the second moment that its stream starts
            with.
        alone: whether this is its only kind of use: a norm's scale that is also folded into the
            weight before it has another, and so has the g of g h + (1 - g) x.
        divides: whether something may be divided by it.
        made: whether the model makes the weight of it, so that its own size says little.
        composed: whether it makes the weight together with other random parameters.
        complex: whether its numbers are complex.
        slope: for a slope of a function that the model writes itself, the value that it starts at.
        parts: whether it alone distinguishes what lies along an axis, as the centres of radial
            functions do: filled with one number, it would make all of that alike.
        few: the mean and deviation of each input of a layer of few inputs that a function follows, for
            its weight and its bias; () for any other.
        beside: of such a bias, the weight and what it gets.
        before: what is known of the values that it has before a plan; None where nothing is asked.
    """

    parameter: str
    slot: str
    layout: Layout
    op: str
    activation: Activation | None = None
    end: str = ""
    norm: bool = False
    ends_branch: bool = False
    of_norm: bool = False
    branches: int = 0
    through: tuple[str, ...] = ()
    neutral: float | None = None
    tied: str = ""
    tied_scale: float = 1.0
    guess: bool = False
    fed: Activation | None = None
    between: tuple[str, ...] = ()
    source: str = ""
    estimate: bool = False
    reads_state: bool = False
    chain: Chain | None = None
    motif: Motif | None = None
    second: float = 1.0
    joined: float = 0.0
    mean: float = 0.0
    followed: bool = True
    lost: str = ""
    measured: bool = False
    start: float = 1.0
    alone: bool = True
    divides: bool = False
    made: bool = False
    composed: bool = False
    complex: bool = False
    slope: float | None = None
    parts: bool = False
    few: tuple[Feature, ...] = ()
    beside: Beside | None = None
    before: Values | None = None

    @property
    def fed_words(self) -> str:
        """What feeds a weight: "relu of weight", "norm"; empty for others."""
        name = self.fed.name if self.fed else "·".join(self.between)
        return f"{name} of {self.source}" if name and self.source else self.source

    @property
    def feeds_words(self) -> str:
        """Where a weight's output goes: "relu, then linear"; empty for others."""
        activation = self.activation.name if self.activation else ""
        end = "a residual stream" if self.ends_branch else self.end
        return ", then ".join(step for step in ("norm" * self.norm, activation, end) if step)

    @property
    def must_differ(self) -> bool:
        """Whether it is a weight whose units would stay identical if they started so.

        Those at the end of a residual branch or an adapter may, and those that scale another signal:
        their inputs differ from unit to unit. Of several that make a weight together one may, if the
        others differ.
        """
        motif = self.motif is not None and self.motif.name in (
            "adapter out",
            "modulation",
            "generator",
        )
        apart = self.ends_branch or motif
        return "weight" in self.slot and not (apart or self.composed)

    def __str__(self) -> str:
        words = "embedding" if self.slot == "table" else self.slot
        if self.slot == "weight":
            if self.ends_branch:
                words += " ending a residual branch"
            elif self.activation:
                words += f" before {self.activation.name}"
            elif self.end == "output":
                words += " of the output"
        if self.slot in ("scale", "shift") and self.of_norm:
            words = f"norm {words}"
        if self.through and self.slot in ("scale", "shift", "bias"):
            words += f" through {'·'.join(dict.fromkeys(self.through))}"
        return f"{words}, tied to {self.tied}" if self.tied else words


@uncollected()
def read_roles(graph: Graph, fallback: Callable[[], Graph]) -> dict[str, Role]:
    """The role of every parameter, in the order of the model.

    Args:
        graph: what a run of the model showed, or the graph of its modules.
        fallback: makes the graph of its modules, which is asked about the parameters that the run
            never used, if there are any.
    """
    chains, motifs, loops = read_plain_stacks(graph), read_subgraphs(graph), read_loops(graph)
    found = {
        name: role and replace(role, motif=motifs.get(name))
        for name in graph.shapes
        for role in [_role(graph, name, chains, loops)]
    }
    if graph.how == "structure":
        found = {name: role and replace(role, guess=True) for name, role in found.items()}
    elif missing := [n for n, role in found.items() if role is None and _is_unseen(graph, n)]:
        modules = fallback()
        for name in missing:
            role = _role(modules, name, {}, {})
            found[name] = role and replace(role, guess=True)
    for name in graph.parts:
        slot = "length" if name in graph.lengths else "part"
        found[name] = Role(name, slot, fans.vector(graph.shapes[name]), "")
    return {
        name: role or Role(name, _slot_alone(graph, name), fans.vector(graph.shapes[name]), "")
        for name, role in found.items()
    }


def _is_unseen(graph: Graph, name: str) -> bool:
    """Whether a run showed nothing of a parameter: its layer's type may tell what it is for."""
    return name not in graph.parts and name not in graph.returned


def _slot_alone(graph: Graph, name: str) -> str:
    """The slot of a parameter that nothing applies to the signal."""
    return "returned" if name in graph.returned and not graph.uses_of(name) else "unknown"


def _role(
    graph: Graph, name: str, chains: Mapping[int, Chain], loops: Mapping[str, Looped]
) -> Role | None:
    uses = [(op, use) for op, use in graph.uses_of(name) if use.slot != "other"]
    if not uses:
        return None
    if _is_measured(graph, name, uses):
        return Role(name, "unknown", uses[0][1].layout, "")
    op, use = uses[0]
    join = graph.ending.get(op.index)
    if join is not None and _feeds_itself(graph, uses, join):
        join = None
    tied, tied_scale = _tie(graph, uses)
    looped = loops.get(name)
    if looped is not None and looped.slot == "recurrent weight":
        activation = following(graph, op.outputs[0]).activation
        return Role(name, looped.slot, looped.layout, op.name, activation=activation)
    of_norm = op.kind == "norm" or op.index in graph.scales_inside or _behind_norm(graph, op)
    role = Role(
        name,
        "shift" if of_norm and use.slot == "bias" else use.slot,
        use.layout,
        op.name,
        ends_branch=join is not None,
        branches=graph.branches[join.stream] if join else 0,
        of_norm=of_norm,
        through=use.through,
        neutral=use.neutral,
        slope=use.slope,
        tied=tied,
        tied_scale=tied_scale,
        made=use.made is not None,
        composed=use.made is not None and [p.kind for p in use.made.parts].count("weight") > 1,
        complex=name in graph.complex,
        chain=chains.get(op.index),
        alone=all(
            (other.slot, other.through) == (use.slot, use.through)
            for _, other in graph.uses_of(name)
        ),
        divides=any(_divides(*other) for other in graph.uses_of(name)),
        parts=_tells_apart(graph, name, op),
    )
    if use.slot == "scale" and join is not None:
        return replace(role, activation=following(graph, op.outputs[0]).activation)
    if use.slot == "bias" and op.kind == "map":
        return replace(role, few=_few(graph, op))
    if use.slot != "weight":
        return role
    role = _of_weight(graph, op, role, loops)
    return role if looped is None else replace(role, slot=looped.slot, layout=looped.layout)


def _is_measured(graph: Graph, name: str, uses: Sequence[tuple[Op, Use]]) -> bool:
    """Whether a weight's uses that are understood do but measure it, and what it is for is another.

    A spectral norm multiplies it by vectors that it keeps, and what meets the signal is the weight
    over that number.
    """
    if len(uses) == len(graph.uses_of(name)) or {use.slot for _, use in uses} != {"weight"}:
        return False
    return all(op.inputs and graph.of_constants.issuperset(op.inputs) for op, _ in uses)


def _tie(graph: Graph, uses: Sequence[tuple[Op, Use]]) -> tuple[str, float]:
    """The other slot of a parameter that two layers share, "" if none, and what scales its output."""
    slot = uses[0][1].slot
    other = next((use.slot for _, use in uses if use.slot != slot), "")
    words = {"weight": "an output weight", "table": "an embedding"}.get(other, other)
    outputs = [op for op, use in uses if use.slot == "weight" and slot == "table" and op.inputs]
    return words, scale_of_output(graph, outputs[0]) if outputs else 1.0


def _of_weight(graph: Graph, op: Op, role: Role, loops: Mapping[str, Looped]) -> Role:
    """The role of a weight with what feeds its layer, and what follows that."""
    what_follows = following(graph, op.outputs[0])
    feed = feeding(graph, op.inputs[0]) if op.inputs else None
    gives_output = what_follows.end is None and what_follows.activation is None
    return replace(
        role,
        reads_state=gives_output and feed is not None and _is_state(feed, loops),
        fed=feed.activation if feed else None,
        between=_names(feed.steps) if feed else (),
        source=", ".join(sorted({source.kind for source in feed.sources})) if feed else "",
        activation=what_follows.activation,
        end=what_follows.end.name if what_follows.end else "output",
        norm=what_follows.norm,
        estimate=not role.ends_branch and is_estimate(graph, op, what_follows),
        few=_few(graph, op),
    )


def _few(graph: Graph, op: Op) -> tuple[Feature, ...]:
    """Standard inputs for a layer that reads few and bends them; () for any other.

    A gate bends, but chooses among what others read.
    """
    weights = [use for use in op.uses if use.slot == "weight"]
    if len(weights) != 1 or not reads_few(graph, op, weights[0]):
        return ()
    follows = following(graph, op.outputs[0])
    gates = follows.end is not None and follows.end.name == "mul"
    if follows.activation is None or follows.norm or gates:
        return ()
    return ((0.0, 1.0),) * weights[0].layout.maps_shape[2]


def _tells_apart(graph: Graph, name: str, op: Op) -> bool:
    """Whether a parameter alone makes what lies along an axis of an operation's result differ.

    Along that axis the signal is one thing that is met by many; or it is several members of an
    ensemble, which may all be given the same example.
    """
    shape, made = graph.shapes[name], graph.sizes.get(op.outputs[0], ())
    given = [graph.sizes.get(value, ()) for value in op.inputs]
    if op.kind != "other" or not given or math.prod(shape) == 1:
        return False
    largest = [max((s[axis] for s in given if -axis <= len(s)), default=1) for axis in _axes(made)]
    widened = any(size < made[axis] for size, axis in zip(largest, _axes(made), strict=True))
    members = len(shape) > 1 and len(made) > 2 and shape[0] == made[0] > 1
    return widened or members


def _axes(shape: tuple[int, ...]) -> range:
    """The axes of a shape, counted from its end."""
    return range(-len(shape), 0)


def _divides(op: Op, use: Use) -> bool:
    """Whether a use may divide by the parameter: a quotient does not tell which side it is.

    What the parameter goes through is no such quotient if it is a line: w/2, but not 2/w.
    """
    return op.name in DIVIDING or (use.neutral is None and bool(DIVIDING & set(use.through)))


def _names(steps: Sequence[Op]) -> tuple[str, ...]:
    """The names of the first few operations that do more than rearrange, each once."""
    names = [step.name for step in steps if step.kind != "move" and not step.is_neutral]
    return tuple(dict.fromkeys(names))[:4]


def _behind_norm(graph: Graph, op: Op) -> bool:
    """Whether a scale or shift stands right behind a norm layer that is spelled out in steps."""
    if not op.is_neutral:
        return False
    maker = graph.producers.get(graph.trunk(op.inputs[0]))
    return maker is not None and (
        maker.index in graph.norms or (maker.is_neutral and _behind_norm(graph, maker))
    )


def _feeds_itself(graph: Graph, uses: list[tuple[Op, Use]], join: Join) -> bool:
    """Whether what a parameter makes reaches a later use of it by another way than through a sum.

    So does what a recurrent cell makes of its state: it is no last step of a branch.
    """
    (first, _), *later = uses
    if not later:
        return False
    met, waiting = {join.op.index}, [*first.outputs]
    while waiting:
        for op in graph.consumers.get(waiting.pop(), []):
            if op.index not in met:
                met.add(op.index)
                waiting.extend(op.outputs)
    return any(op.index in met for op, _ in later)


def _is_state(feed: Feed, loops: Mapping[str, Looped]) -> bool:
    """Whether a signal is the state of a recurrent layer, or of a loop over one."""
    makers = [source.op for source in feed.sources if source.op is not None]
    weights = [use.parameter for op in makers for use in op.uses if use.slot == "weight"]
    return any(op.kind == "recurrent" for op in makers) or any(
        name in loops and loops[name].slot == "recurrent weight" for name in weights
    )
