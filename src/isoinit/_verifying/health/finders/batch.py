"""What is doubtful about the batch or the mode that the model is in."""

from __future__ import annotations

from collections.abc import Iterator

from isoinit._planning.propagation.inputs import SEEN, is_drowned, reader
from isoinit._showing.findings import Finding, listed
from isoinit._verifying.health.facts import Facts


def uneven_columns(facts: Facts) -> Iterator[Finding]:
    """Columns of very different sizes, as those of a raw table: few of them are seen."""
    graph = facts.measured.graph
    for value, given in graph.given.items():
        layer = reader(graph, value) if is_drowned(given) and not given.fixed else ""
        if layer:
            yield Finding(
                "uneven columns",
                "warning",
                (layer,),
                given.seen,
                SEEN,
                "a weight sums over columns as they are: those of large numbers drown the rest",
                "standardize the columns of the inputs: mean 0 and deviation 1 each",
                f"{layer}: reads columns of very different sizes, of which {given.seen:.0%} make up "
                "nearly all that it sees",
            )


def one_example(facts: Facts) -> Iterator[Finding]:
    """A batch that tells nothing of how examples differ."""
    if facts.examples == 1:
        yield Finding(
            "one example",
            "warning",
            ("batch",),
            1.0,
            2.0,
            "whether examples stay apart with depth shows on two of them at least",
            "pass a batch of the size that you train with",
            "the batch holds one example, so that differences between examples were not measured",
        )
    elif facts.identical:
        yield Finding(
            "identical examples",
            "warning",
            ("batch",),
            1.0,
            2.0,
            "whether examples stay apart with depth shows on two different ones at least",
            "pass real examples, or random ones",
            "all examples of the batch are the same, so that differences between examples were not "
            "measured",
        )


def resting(facts: Facts) -> Iterator[Finding]:
    """Layers that behave otherwise in training."""
    if facts.resting:
        yield Finding(
            "evaluation mode",
            "warning",
            facts.resting,
            float(len(facts.resting)),
            0.0,
            "batch norm in evaluation mode divides by statistics that no data has gone into, and "
            "dropout does nothing",
            "call model.train() before the check",
            f"{listed(facts.resting)}: the model is in evaluation mode, in which these layers behave "
            "otherwise than in training",
        )
