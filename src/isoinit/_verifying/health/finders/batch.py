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
                "a weight sums over columns as they are, so columns of large numbers dominate",
                "standardize the columns of the inputs to mean 0 and standard deviation 1",
                f"{layer}: the columns of its input have very different sizes, and "
                f"{given.seen:.0%} of them make up nearly all of the input",
            )


def one_example(facts: Facts) -> Iterator[Finding]:
    """A batch that does not show how examples differ."""
    if facts.examples == 1:
        yield Finding(
            "one example",
            "warning",
            ("batch",),
            1.0,
            2.0,
            "whether examples stay different with depth shows only on two or more",
            "pass a batch of the size that you train with",
            "the batch holds one example, so differences between examples were not measured",
        )
    elif facts.identical:
        yield Finding(
            "identical examples",
            "warning",
            ("batch",),
            1.0,
            2.0,
            "whether examples stay different with depth shows only on two different ones",
            "pass real examples or random ones",
            "all examples of the batch are the same, so differences between examples were not "
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
            "in evaluation mode batch norm divides by running statistics that have seen no data, and "
            "dropout does nothing",
            "call model.train() before the check",
            f"{listed(facts.resting)}: the model is in evaluation mode, where these layers behave "
            "differently from training",
        )
