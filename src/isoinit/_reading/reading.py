"""What was read of a model, for people and programs: its layers, and the functions between them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from isoinit._reading.activation import GRID, Activation
from isoinit._reading.graph import PRODUCTS, Graph, Op
from isoinit._reading.layers import is_layer, layer_name
from isoinit._reading.outline import outline
from isoinit._reading.pages import reading_page
from isoinit._reading.pointwise import (
    Feed,
    Source,
    feeding,
    is_affine,
    ways,
)
from isoinit._showing.folding import kinds
from isoinit._showing.page import Page, Shown
from isoinit._showing.table import fold, render

FORMAT, VERSION = "isoinit graph", 1
HOW = {
    "fake": "run on fake tensors",
    "real": "run on the example",
    "structure": "a guess from its modules, not run",
    "jaxpr": "traced by JAX",
}
SIGNS = {"add": " + ", "sub": " - ", "mul": " · ", "div": " / "}
TIMES = (" · ", " / ")
MANY = 3  # of readers whose names differ in numbers alone, more are told as one: experts.0…63.w1


@dataclass(frozen=True)
class Layer:
    """One operation that uses parameters, and its place in the model.

    Attributes:
        name: the module or the parameter, as it is without wrappers.
        operation: what it does: "linear 64→256", "layer_norm".
        fed_by: what each input is made of, such as `("gelu(c_fc)",)`: layers, norms, "stream" (a
            residual stream), "input" and "constants" (such as places 0, 1, 2), in the model's own
            functions of them.
        goes_to: what is done with the result: functions in their order, then everything that reads
            it: "silu → mul → w2", "norm → attn.wq, wk, wv; stream".
        op: the operation itself.
        feeds: `fed_by` as data.
    """

    name: str
    operation: str
    fed_by: tuple[str, ...]
    goes_to: str
    op: Op
    feeds: tuple[Feed, ...]


@dataclass(frozen=True)
class Reading(Shown):
    """What was read of a model; printing it shows the chain of its layers.

    Attributes:
        name: the class of the model.
        graph: the operations that ran, and what each did with parameters.
        warnings: what is doubtful about it.
    """

    name: str
    graph: Graph
    warnings: tuple[str, ...] = ()

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The operations with parameters in the order in which they ran, norm layers too.

        A bias that is added by itself, or the scale of a norm that is spelled out in steps, belongs
        to the layer before it.
        """
        return tuple(self._layer(op) for op in self.graph.ops if is_layer(self.graph, op))

    @property
    def unused(self) -> list[str]:
        """The parameters that the run never used."""
        return self.graph.unused

    def chain(self) -> list[tuple[str, str, str]]:
        """Each layer with what feeds it and where it goes, as text."""
        return [(layer.name, ", ".join(layer.fed_by), layer.goes_to) for layer in self.layers]

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [(x.name, x.operation, ", ".join(x.fed_by), x.goes_to) for x in self.layers]

    def _page(self) -> Page:
        graph = self.graph
        streams = ", ".join(map(str, graph.branches.values())) or "no residual sums"
        facts = [
            ("layers", f"{len(self.layers):,}"),
            ("parameters", f"{len(graph.shapes):,}"),
            ("operations", f"{len(graph.ops):,}"),
            ("read from", HOW[graph.how]),
            ("branches of each residual stream", streams),
        ]
        drawn = outline(graph, self.name)
        return reading_page(drawn, self._rows(), facts, self.warnings)

    def __str__(self) -> str:
        rows = self._rows()
        graph = self.graph
        counts = [str(n) for n in graph.branches.values()]
        notes = [
            f"{len(graph.shapes)} parameters, {len(graph.ops)} operations, {HOW[graph.how]}",
            f"branches that each residual stream collects: {', '.join(counts) or 'no residual sums'}",
        ]
        columns = ("layer", "operation", "input from", "output to")
        return render(self.name, columns, fold(rows, free=(0, 2, 3)), notes, self.warnings)

    def to_json(self) -> str:
        """The reading as JSON for programs."""
        graph = self.graph
        head = {"format": FORMAT, "version": VERSION, "model": self.name, "how": graph.how}
        joins = [
            {"op": j.op.index, "stream": j.stream, "ends": list(j.ends)}
            for j in graph.joins.values()
        ]
        layers = [self._facts(layer) for layer in self.layers]
        body = {
            "layers": layers,
            "uses": [{"op": op.index, **asdict(use)} for op in graph.ops for use in op.uses],
            "joins": joins,
            "unused": self.unused,
            "aliases": graph.aliases,
            "warnings": self.warnings,
        }
        return json.dumps({**head, **body}, indent=1)

    def _facts(self, layer: Layer) -> dict[str, Any]:
        join = self.graph.ending.get(layer.op.index)
        return {
            "name": layer.name,
            "op": layer.op.index,
            "operation": layer.op.name,
            "kind": "norm" if layer.op.index in self.graph.norms else layer.op.kind,
            "parameters": [use.parameter for use in layer.op.uses],
            "fed_by": [self._feed_facts(feed, layer.name) for feed in layer.feeds],
            "goes_to": layer.goes_to,
            "ends_branch_of_stream": join.stream if join else None,
        }

    def _feed_facts(self, feed: Feed, name: str) -> dict[str, Any]:
        activation = feed.activation
        return {
            "text": self._text(feed, name),
            "sources": [
                {"kind": s.kind, "op": s.op.index if s.op else None, "layer": self._label(s, "")}
                for s in feed.sources
            ],
            "operations": [op.name for op in feed.steps],
            "activation": activation.name if activation else None,
            "elementwise": feed.function is not None,
        }

    def _layer(self, op: Op) -> Layer:
        name = layer_name(self.graph, op)
        normed = self.graph.norms.get(op.index)
        inputs = op.inputs if normed is None else (normed,)
        feeds = tuple(feeding(self.graph, value) for value in dict.fromkeys(inputs))
        return Layer(
            name,
            _operation(op) if op.uses or op.kind == "norm" else "norm in steps",
            tuple(self._text(feed, name) for feed in feeds) or ("constants",),
            self._goes_to(op, name),
            op,
            feeds,
        )

    def _goes_to(self, op: Op, name: str) -> str:
        join = self.graph.ending.get(op.index)
        if join is not None:
            return self._stream(join.stream)
        arrivals: dict[tuple[str, ...], list[tuple[str, ...]]] = {}  # by what is done before
        for way in ways(self.graph, op.outputs[0]):
            steps = ["norm"] * way.norm + ([way.activation.name] if way.activation else [])
            arrivals.setdefault(tuple(steps), []).extend(self._arrivals(way.end))
        return "; ".join(
            " → ".join([*steps, _listed(found, name)]) for steps, found in arrivals.items()
        )

    def _arrivals(self, end: Op | None) -> list[tuple[str, ...]]:
        """Where a signal arrives that goes into an operation: all next layers, sums and outputs.

        Each with the operation, if any, that first mixes it with others. Names of layers are whole.
        """
        if end is None:
            return [("output",)]
        waiting, seen = [end], {end.index}
        multiplied = False
        mixed: tuple[str, ...] = ()
        found: list[tuple[str, ...]] = []
        while waiting:
            op = waiting.pop(0)
            multiplied |= op.name in PRODUCTS and len(op.inputs) > 1
            if op.index in self.graph.joins:
                found.append((*mixed, self._stream(self.graph.joins[op.index].stream)))
            elif is_layer(self.graph, op):
                found.append((*mixed, layer_name(self.graph, op)))
            elif op.name == "scaled_dot_product_attention" or (op.name == "softmax" and multiplied):
                found.append(("attention",))
            else:
                if not mixed and op.kind != "move" and (len(op.inputs) > 1 or op.name == "softmax"):
                    mixed = (op.name,)
                for value in op.outputs:
                    new = [r for r in self.graph.consumers.get(value, []) if r.index not in seen]
                    seen.update(reader.index for reader in new)
                    waiting.extend(new)
        return found or [(*mixed, "output")]

    def _stream(self, number: int) -> str:
        return "stream" if len(self.graph.branches) == 1 else f"stream {number + 1}"

    def _label(self, source: Source, name: str) -> str:
        if source.op is None:
            return "input"
        if source.kind == "residual":
            return self._stream(self.graph.joins[source.op.index].stream)
        return _relative(layer_name(self.graph, source.op), name)

    def _text(self, feed: Feed, name: str, depth: int = 0) -> str:
        """A feed as an expression: `silu(gate_proj) · up_proj`."""
        labels = list(dict.fromkeys(self._label(source, name) for source in feed.sources))
        if feed.function is not None and len(feed.sources) == 1:
            if is_affine(feed.function(GRID)):
                return labels[0]
            activation: Activation | None = feed.activation
            called = activation.name if activation else "·".join(_named(feed))
            return f"{called}({labels[0]})"
        op = self._last(feed.value)
        if op is None or not labels:
            return ", ".join(labels) or "constant"
        if op.name in PRODUCTS and _is_attention(feed):
            return f"attention({', '.join(labels)})"
        if depth > 3:
            return f"{op.name}({', '.join(labels)})"
        inputs = [
            self._text(feeding(self.graph, value), name, depth + 1)
            for value in dict.fromkeys(op.inputs)
        ]
        inputs += [_relative(use.parameter.removesuffix(".weight"), name) for use in op.uses]
        if op.name in SIGNS and len(inputs) == 2:
            if SIGNS[op.name] in TIMES:
                inputs = [f"({text})" if _is_sum(text) else text for text in inputs]
            return SIGNS[op.name].join(inputs)
        return f"{op.name}({', '.join(dict.fromkeys(inputs))})"

    def _last(self, value: int) -> Op | None:
        """The operation that made a value, looking through rearrangements."""
        op = self.graph.producers.get(value)
        while op is not None and len(op.inputs) == 1 and (op.kind == "move" or op.is_neutral):
            op = self.graph.producers.get(op.inputs[0])
        return op


def _is_sum(text: str) -> bool:
    """Whether an expression has a sum outside all parentheses."""
    while (inner := re.sub(r"\([^()]*\)", "", text)) != text:
        text = inner
    return " + " in text or " - " in text


def _is_attention(feed: Feed) -> bool:
    names = {step.name for step in feed.steps}
    return bool(names & {"scaled_dot_product_attention", "softmax"})


def _named(feed: Feed) -> Iterator[str]:
    return iter(dict.fromkeys(op.name for op in feed.steps if op.kind != "move"))


def _relative(name: str, site: str) -> str:
    """A name as seen from a layer: without the path they share, but never starting at a number."""
    parts, others = name.split("."), site.split(".")
    shared = 0
    while shared < len(parts) - 1 and shared < len(others) and parts[shared] == others[shared]:
        shared += 1
    while shared and parts[shared].isdigit():
        shared -= 1
    return ".".join(parts[shared:])


def _listed(arrivals: Iterable[tuple[str, ...]], site: str) -> str:
    """Return where a signal arrives, as seen from a layer: `attn.wq, wk, wv`, `mul → w2`."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for *mixed, name in arrivals:
        groups.setdefault(tuple(mixed), []).append(name)
    texts = []
    for before, names in groups.items():
        beside: dict[str, list[str]] = {}  # by the module that they are in
        for kind in kinds(dict.fromkeys(names), str, len):
            for name in [kind.name] if len(kind.items) > MANY else kind.items:
                beside.setdefault(name.rpartition(".")[0], []).append(name)
        shown = [
            ", ".join([_relative(first, site), *(name.rpartition(".")[2] for name in others)])
            for first, *others in beside.values()
        ]
        texts.append(" → ".join([*before, ", ".join(shown)]))
    return ", ".join(texts)


def _operation(op: Op) -> str:
    use = next((use for use in op.uses if use.layout.is_map), None)
    if use is None:
        return op.name
    stack, n_out, n_in, _ = use.layout.maps_shape
    if use.layout.kind == "embedding":
        return f"{op.name} {n_in}×{n_out}"
    if use.layout.kind == "kept":
        return f"{op.name} of {n_out} weights"
    kernel = " " + "×".join(map(str, use.layout.kernel)) if use.layout.kernel else ""
    sizes = f"{stack}×({n_in}→{n_out})" if stack > 1 else f"{n_in}→{n_out}"
    return f"{op.name} {sizes}{kernel}"
