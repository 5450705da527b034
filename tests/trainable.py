"""What each set of the contest's tasks is held to, for the tests of the sets."""

import ast

import torch


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


def starts(task, unused="-"):
    """A new model has a loss above the floor, and a gradient wherever it is not said to be unused."""
    torch.manual_seed(0)
    model = task.build()
    loss = value(model, task.data(0))
    assert torch.isfinite(loss)
    assert loss > task.floor
    loss.backward()
    lost = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert [n for n in lost if not n.startswith(unused)] == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    return model


def repeats(task, whole=False):
    """A step has its own numbers, whatever was drawn before; those of a whole graph are all alike."""
    first = tensors(task.data(5)[0])
    torch.rand(3)
    again, other = tensors(task.data(5)[0]), tensors(task.data(6)[0])
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    if not whole:
        assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def holds_out(task, seen=lines):
    """What is held out is the same each time, and never trained on."""
    first, again = (tensors(task.held_out()[0]) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    held = seen(task.held_out())
    assert held
    assert all(held.isdisjoint(seen(task.data(step))) for step in range(4))


def refills(task):
    """A recipe writes new numbers in the same shapes."""
    torch.manual_seed(0)
    model = task.build()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    task.recipe(model)
    after = dict(model.named_parameters())
    assert {n: p.shape for n, p in after.items()} == {n: p.shape for n, p in before.items()}
    assert all(torch.isfinite(p).all() for p in after.values())
    assert any(not torch.equal(after[n], before[n]) for n in before)


def written(folder):
    """The names of all tasks that a folder's modules write down."""
    return [
        key.value
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Dict)
        for key, item in zip(node.keys, node.values, strict=True)
        if isinstance(item, ast.Call) and getattr(item.func, "id", "") == "Task"
    ]
