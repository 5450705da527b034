"""Running a model: batches of every form, and what is said when a forward fails."""

import copy
import dataclasses
import random
from collections import UserDict, namedtuple

import numpy as np
import pytest
import torch
from torch import nn

import isoinit
from isoinit._reading.torch import fakes, trace
from isoinit.errors import ArgumentError, TraceError


class Net(nn.Module):
    """Two layers around what a test gives; it changes itself, so that a trace would show."""

    def __init__(self, forward):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)
        self.calls, self.cache, self.run = 0, [], forward

    def forward(self, *args, **kwargs):
        self.calls += 1
        self.cache.append(args)
        self.extra = torch.rand(2)
        random.random()
        np.random.rand()
        return self.run(self, *args, **kwargs)


def state(model):
    """Everything that a run could leave behind."""
    tensors = {name: (id(t), t.clone()) for name, t in model.state_dict(keep_vars=True).items()}
    grads = [p.grad for p in model.parameters()]
    marks = (model.training, model.calls, list(model.cache), sorted(vars(model)), random.getstate())
    return tensors, grads, marks, torch.get_rng_state(), np.random.get_state()[1].copy()


def assert_same(before, after):
    assert before[0].keys() == after[0].keys()
    for name, (identity, tensor) in before[0].items():
        assert after[0][name][0] == identity
        assert torch.equal(after[0][name][1], tensor)
    assert before[1:3] == after[1:3]
    assert torch.equal(before[3], after[3])
    assert np.array_equal(before[4], after[4])


def plain(m, x):
    return m.second(m.norm(m.first(x)).relu())


X = torch.randn(3, 4)
Point = namedtuple("Point", "x scale")


@dataclasses.dataclass
class Record:
    x: torch.Tensor
    other: list


@pytest.mark.parametrize(
    ("forward", "batch"),
    [
        (plain, X),
        (plain, (X,)),
        (lambda m, x, y: plain(m, x) + plain(m, y), (X, X)),
        (lambda m, *, x: plain(m, x), {"x": X}),
        (lambda m, x, flag=True: plain(m, x) if flag else x, {"x": X, "flag": True}),
        (lambda m, x: plain(m, x), UserDict(x=X)),
        (lambda m, d: plain(m, d["inner"][0]["x"]), ({"inner": [{"x": X}]},)),
        (lambda m, p: plain(m, p.x) * p.scale, (Point(X, 2.0),)),
        (lambda m, r: plain(m, r.x), (Record(X, [1, "two"]),)),
        (lambda m, xs: plain(m, torch.stack(xs).mean(0)), ([X, X],)),
        (lambda m, x: {"out": [plain(m, x)]}, X),
        (lambda m, x: Record(plain(m, x), []), X),
    ],
)
def test_batches_and_results_of_every_form(forward, batch):
    model = Net(forward)
    before = state(model)
    plan = isoinit.plan(model, batch)
    assert plan.how == "fake"
    assert plan["first.weight"].role == "weight before relu"
    assert plan["second.weight"].role == "weight of the output"
    assert_same(before, state(model))


def raises(m, x):
    plain(m, x)
    raise ValueError("the moon is full")


def reads_a_file(m, x):
    with open("/nowhere/table.txt") as file:
        return plain(m, x) * float(file.read())


def endless(m, x):
    while True:
        x = x + 1e-9 * plain(m, x).sum()


def endless_on_data(m, x):
    y = plain(m, x)
    while float(y.abs().sum()) >= 0:
        y = y + 1
    return y


@pytest.mark.parametrize(
    ("forward", "batch", "quotes"),
    [
        (raises, X, ["ValueError: the moon is full", "test_run.py", "raise ValueError"]),
        (reads_a_file, X, ["FileNotFoundError", "/nowhere/table.txt", "with open("]),
        (lambda m, x, t: plain(m, x), X, ["TypeError", "missing 1 required", "'t'"]),
        (plain, torch.randn(3, 5), ["3x5", "m.first(x)"]),
        (plain, X.double(), ["float64", "float32", "the batch holds"]),
        (plain, X.to("meta"), ["the batch is on meta", "the parameters on cpu"]),
        (lambda m, x: None, X, ["returned None"]),
        (endless, X, ["torch calls", "does not end", "test_run.py"]),
        (endless_on_data, X, ["torch calls", "does not end"]),
    ],
)
def test_what_fails_is_explained_and_nothing_is_changed(forward, batch, quotes, monkeypatch):
    monkeypatch.setattr(fakes, "MOST_CALLS", 2000)
    model = Net(forward)
    before = state(model)
    with pytest.raises(TraceError) as caught:
        isoinit.plan(model, batch)
    for quote in quotes:
        assert quote in str(caught.value)
    assert_same(before, state(model))


@pytest.mark.parametrize("batch", [3, "text", [X], None.__class__])
def test_a_batch_of_no_known_form(batch):
    with pytest.raises(ArgumentError, match="batch is a"):
        isoinit.plan(Net(plain), batch)


def test_a_model_half_on_the_meta_device_can_be_read_and_filled():
    model = Net(plain)
    model.second = nn.Linear(8, 2, device="meta")
    plan = isoinit.plan(model, X)
    assert plan["second.weight"].role == "weight of the output"
    other = plan.apply(copy.deepcopy(model), seed=0)
    assert torch.equal(other.second.weight, plan.apply(Net(plain), seed=0).second.weight)
    model.run = lambda m, x: plain(m, x) if float(x.sum()) < 1e9 else x
    with pytest.raises(TraceError, match="one part of the model has no memory"):
        isoinit.plan(model, X)


def test_parameters_that_the_run_never_touches_are_named():
    model = Net(lambda m, x: m.first(x))
    plan = isoinit.plan(model, X)
    note = plan.notes[0]
    for name in ("norm.weight", "norm.bias", "second.weight", "second.bias"):
        assert repr(name) in note
        assert "guess" in plan[name].reason
    assert "no gradient" in note
    assert note in plan.warnings
    assert isoinit.Plan.from_json(plan.to_json()) == plan
    assert isoinit.read(model, X).unused == [
        "norm.weight",
        "norm.bias",
        "second.weight",
        "second.bias",
    ]


def test_a_line_in_a_folder_called_torch_is_the_users(tmp_path, monkeypatch):
    (tmp_path / "torch").mkdir()
    file = tmp_path / "torch" / "mine.py"
    file.write_text("def broken(m, x):\n    return m.first(x).no_such_thing\n")
    namespace = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    with pytest.raises(TraceError, match=r"mine\.py:2"):
        trace(Net(namespace["broken"]), X)


def test_a_loop_that_ends_on_its_data_is_read_on_the_example():
    def settles(m, x):
        y = plain(m, x)
        while float(y.abs().max()) > 1:
            y = y / 2
        return y

    assert isoinit.plan(Net(settles), 100 * X).how == "real"
