"""What people pass to a model, and what models return, in all the forms that run."""

import dataclasses
from collections import namedtuple

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import isoinit
from isoinit._reading.torch import as_arguments
from isoinit._reading.torch.trees import tensors_in
from isoinit.errors import ArgumentError, TraceError

X = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))


@dataclasses.dataclass
class Record:
    x: torch.Tensor
    extra: object = None


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: torch.Tensor


class Plain:
    def __init__(self, x):
        self.x = x


Pair = namedtuple("Pair", "x mask")


class Net(nn.Module):
    """Two layers; `take` makes their input of what is passed, `give` makes what is returned."""

    def __init__(self, take=lambda x: x, give=lambda y: y):
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 3)
        self.take, self.give = take, give

    def forward(self, x):
        return self.give(self.last(torch.relu(self.first(self.take(x)))))


class Graph(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x, a):
        return torch.sparse.mm(a, self.last(torch.relu(torch.sparse.mm(a, self.first(x)))))


class Words(nn.Module):
    """A layer of its own for sparse counts."""

    def __init__(self):
        super().__init__()
        self.table, self.last = nn.Parameter(torch.randn(50, 16)), nn.Linear(16, 3)

    def forward(self, counts):
        return self.last(torch.relu(torch.sparse.mm(counts, self.table)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.GRU(8, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, x):
        return self.last(self.first(x)[1][-1])


class Yields(Net):
    def forward(self, x):
        hidden = torch.relu(self.first(x))
        for part in hidden.split(8):
            yield self.last(part)


COUNTS = (torch.rand(32, 50, generator=torch.Generator().manual_seed(0)) > 0.8).float()
LENGTHS = torch.tensor([7, 5, 3, 2])
PACKED = pack_padded_sequence(X[:28].view(4, 7, 8), LENGTHS, batch_first=True)
RUNS = {
    "packed sequence": (Recurrent, PACKED),
    "sparse graph": (Graph, (X, torch.eye(32).to_sparse())),
    "sparse rows": (Graph, (X, torch.eye(32).to_sparse_csr())),
    "sparse input": (Words, COUNTS.to_sparse()),
    "booleans": (lambda: Net(lambda x: x.float()), X > 0),
    "integers": (lambda: Net(lambda x: x.float()), (3 * X).int()),
    "named tuple": (lambda: Net(lambda pair: pair.x), Pair(X, None)),
    "dataclass": (lambda: Net(lambda record: record.x), Record(X)),
    "slots": (lambda: Net(lambda record: record.x), Slotted(X)),
    "object": (lambda: Net(lambda plain: plain.x), Plain(X)),
    "list in a tuple": (lambda: Net(lambda rows: rows[0]), ([X],)),
    "gives a dataclass": (lambda: Net(give=Record), X),
    "gives a named tuple": (lambda: Net(give=lambda y: Pair(y, None)), X),
    "gives a set": (lambda: Net(give=lambda y: {y}), X),
    "gives an object": (lambda: Net(give=Plain), X),
    "gives a distribution": (lambda: Net(give=lambda y: torch.distributions.Normal(y, 1.0)), X),
    "yields": (Yields, X),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_it_passes_through_every_verb(name):
    build, batch = RUNS[name]
    model = build()
    plan = isoinit.init(model, batch)
    assert not plan.warnings
    assert plan["last.weight"].expected is not None
    health = isoinit.check(model, batch, plan=plan)
    assert health.ok, health
    assert {weight.gradient is not None for weight in health.weights} == {True}
    assert len(isoinit.read(model, batch).layers) >= 2
    plan.calibrate(model, batch)
    found = isoinit.compare(build, batch, methods=("plan",), steps=1, seeds=(0,))
    assert found


def test_the_scale_for_sparse_counts_is_that_of_dense_ones():
    std = isoinit.plan(Words(), COUNTS.to_sparse())["table"].std
    dense = nn.Sequential(nn.Linear(50, 16), nn.ReLU(), nn.Linear(16, 3))
    assert std == pytest.approx(isoinit.plan(dense, COUNTS)["0.weight"].std, rel=0.05)


def test_a_tuple_with_a_class_of_its_own_is_one_argument():
    pair = Pair(X, None)
    assert as_arguments(pair) == ((pair,), {})
    assert as_arguments((X, 1)) == ((X, 1), {})
    assert list(tensors_in(Slotted(X))) == [X]


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_rows_of_a_nested_tensor_are_cut_to_the_shortest(layout):
    nested = torch.nested.nested_tensor([X[:3], X[:5]], layout=layout)
    ((whole,), _) = as_arguments(nested)
    assert torch.equal(whole, torch.stack([X[:3], X[:3]]))
    model = Net()
    plan = isoinit.init(model, nested, seed=0)
    assert plan.digest == isoinit.plan(model, whole).digest
    assert isoinit.check(model, nested).ok
    assert isoinit.read(model, nested).chain()
    empty = torch.nested.nested_tensor([X[:3], X[:0]], layout=layout)
    with pytest.raises(ArgumentError, match="an empty row"):
        isoinit.plan(model, empty)


def test_a_list_may_be_meant_as_either():
    with pytest.raises(ArgumentError, match=r"batch is a list.*tuple\(batch\).*\(batch,\)"):
        isoinit.plan(Net(), [X, X])


def test_a_forward_that_writes_into_the_example_leaves_it():
    def take(x):
        if x.sum() > 1e9:  # so that it runs on the example itself
            return x
        return x.mul_(2)

    before = X.clone()
    assert isoinit.plan(Net(take), X).how == "real"
    isoinit.check(Net(take), X)
    for batch in (Record(X), Plain(X), Pair(X, None)):  # of which no copy is made
        model = Net(lambda record: take(record.x).sort(0)[0])  # which is measured
        isoinit.plan(model, batch).calibrate(model, batch)
        isoinit.check(model, batch)
    assert torch.equal(X, before)


@pytest.mark.parametrize("verb", [isoinit.plan, isoinit.check, isoinit.read, isoinit.init])
def test_targets_do_not_belong_into_the_batch(verb):
    y = torch.randint(0, 3, (32,))
    with pytest.raises(TraceError) as caught:
        verb(Net(), (X, y))
    said = str(caught.value)
    assert "does not accept this batch" in said
    assert "it takes (x), but was given 2 by position" in said
    assert "Remove targets from the batch" in said
    assert "loss=" in said


def test_the_refusal_names_what_the_forward_takes():
    class Takes(Net):
        def forward(self, x, mask=None, *, scale: float = 1.0):
            return super().forward(x)

    with pytest.raises(
        TraceError, match=r"takes \(x, mask=\.\.\., scale=\.\.\.\), but was .* x, y"
    ):
        isoinit.plan(Takes(), {"x": X, "y": X})
    with pytest.raises(
        TraceError, match=r"a Pair is one argument; tuple\(batch\) passes its parts"
    ):
        isoinit.plan(Graph(), Pair(X, torch.eye(32)))
    with pytest.raises(
        TraceError, match="mat1 and mat2"
    ):  # an error of its own is quoted as before
        isoinit.plan(Net(), X[:, :5])


def test_a_model_of_keras_is_refused_by_where_its_classes_come_from():
    dense = type("Dense", (nn.Linear,), {"__module__": "keras.src.layers.core.dense"})
    for model, place in (
        (dense(8, 3), "model is a Dense"),
        (nn.Sequential(dense(8, 3)), "layer '0'"),
    ):
        for verb in (isoinit.plan, isoinit.check, isoinit.read):
            with pytest.raises(ArgumentError, match=f"{place}.*of Keras.*call isoinit.keras.plan"):
                verb(model, X)
    with pytest.raises(ArgumentError, match="Keras"):
        isoinit.audit(lambda: dense(8, 3))
