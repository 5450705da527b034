"""Each model of the fresh set can be trained, on the same numbers each time."""

import ast
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # evidence is no part of the package

from evidence.contest.fresh import TASKS  # noqa: E402

EACH = pytest.mark.parametrize("name", TASKS)
UNUSED = {
    "EGNN, charged particles": "layers.2.node_mlp"
}  # as published: the last features are not read
WHOLE = {"graph attention, papers", "GCNII, districts of a map"}  # nodes of one graph are held out


def tensors(given):
    return list(given.values()) if isinstance(given, dict) else [given]


def value(model, step):
    given, loss = step
    output = model(**given) if isinstance(given, dict) else model(given)
    return output.loss if loss is None else loss(output)


def lines(step):
    """Each row of a batch, whatever it is made of."""
    columns = [x.detach() for x in tensors(step[0])]
    return {b"".join(x[i].numpy().tobytes() for x in columns) for i in range(len(columns[0]))}


def read_nodes(step):
    """The nodes of a graph whose outputs make the loss."""
    output = torch.zeros(len(step[0]["x"]), 5, requires_grad=True)
    step[1](output).backward()
    return set(output.grad.abs().sum(1).nonzero()[:, 0].tolist())


@EACH
def test_a_step_has_a_loss_and_a_gradient_everywhere(name):
    task = TASKS[name]
    torch.manual_seed(0)
    model = task.build()
    loss = value(model, task.data(0))
    assert torch.isfinite(loss)
    assert loss > task.floor
    loss.backward()
    lost = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert [n for n in lost if not n.startswith(UNUSED.get(name, "-"))] == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@EACH
def test_a_step_has_its_own_numbers_whatever_was_drawn_before(name):
    first = tensors(TASKS[name].data(5)[0])
    torch.rand(3)
    again, other = tensors(TASKS[name].data(5)[0]), tensors(TASKS[name].data(6)[0])
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    if name not in WHOLE:
        assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@EACH
def test_what_is_held_out_is_the_same_each_time_and_never_trained_on(name):
    task = TASKS[name]
    first, again = (tensors(task.held_out()[0]) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    seen = read_nodes if name in WHOLE else lines
    held = seen(task.held_out())
    assert held
    assert all(held.isdisjoint(seen(task.data(step))) for step in range(4))


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.recipe])
def test_a_recipe_writes_new_numbers_in_the_same_shapes(name):
    torch.manual_seed(0)
    model = TASKS[name].build()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    TASKS[name].recipe(model)
    after = dict(model.named_parameters())
    assert {n: p.shape for n, p in after.items()} == {n: p.shape for n, p in before.items()}
    assert any(not torch.equal(after[n], before[n]) for n in before)


def test_names_differ_and_sources_are_named():
    folder = ROOT / "evidence" / "contest" / "fresh"
    keys = [
        key.value
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Dict)
        for key, item in zip(node.keys, node.values, strict=True)
        if isinstance(item, ast.Call) and getattr(item.func, "id", "") == "Task"
    ]
    assert sorted(keys) == sorted(TASKS)
    assert all(len(task.source) > 20 for task in TASKS.values())
