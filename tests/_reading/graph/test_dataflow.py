"""Which values follow from which, in small graphs written by hand."""

from isoinit._reading.graph import Op
from isoinit._reading.graph.dataflow import Dataflow


def flow(*ops, **sizes):
    """Operations from (name, kind, inputs, outputs), and the sizes of values such as `v0`."""
    made = tuple(Op(i, *op) for i, op in enumerate(ops))
    return Dataflow(made, {int(name[1:]): size for name, size in sizes.items()})


LINE = flow(
    ("linear", "map", (0,), (1,)),
    ("tanh", "other", (1,), (2,)),
    ("add", "other", (2, 0), (3,)),
    ("relu", "other", (0,), (4,)),
)


def test_dependence_is_followed_through_everything():
    assert LINE.depends(3, on=1)
    assert not LINE.depends(1, on=3)
    assert not LINE.depends(4, on=1)
    assert LINE.reached_from(1) == {1, 2, 3}
    assert LINE.reached_from(0) == {0, 1, 2, 3, 4}


def test_what_makes_a_value_and_what_reads_it():
    assert LINE.producers[2].name == "tanh"
    assert [op.name for op in LINE.consumers[0]] == ["linear", "add", "relu"]


def test_a_part_is_not_the_whole():
    found = flow(
        ("view", "move", (0,), (1,)),
        ("getitem", "move", (1,), (2,)),
        ("getitem", "move", (2,), (3,)),
        v0=(4, 6),
        v1=(24,),
        v2=(12,),
        v3=(1, 12),
    )
    assert [found.is_part(op) for op in found.ops] == [False, True, False]
    assert [found.trunk(value) for value in range(4)] == [0, 0, 2, 2]
