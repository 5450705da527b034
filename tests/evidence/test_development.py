"""The development set: each task builds, learns from repeatable data, and holds other data out."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # evidence is no part of the package

from evidence.contest.development import (
    TASKS,
    convolutional,
    functions,
    generative,
    graphs,
    perceptrons,
    sequences,
)
from evidence.contest.development import batches as made
from evidence.contest.development import patches as patched

MODULES = (perceptrons, convolutional, patched, sequences, graphs, functions, generative)


def built(name, seed=0):
    torch.manual_seed(seed)
    return TASKS[name].build()


def loss_of(model, step):
    batch, loss = step
    if isinstance(batch, dict):
        output = model(**batch)
    else:
        output = model(*batch) if isinstance(batch, tuple) else model(batch)
    return output.loss if loss is None else loss(output)


def tensors(batch):
    if isinstance(batch, torch.Tensor):
        return [batch]
    return list(batch.values() if isinstance(batch, dict) else batch)


def test_no_name_is_used_twice():
    assert len(TASKS) == sum(len(module.TASKS) for module in MODULES) >= 26


@pytest.mark.parametrize("name", TASKS)
def test_every_parameter_has_a_gradient_from_a_finite_loss(name):
    model = built(name)
    loss = loss_of(model, TASKS[name].data(0))
    loss.backward()
    assert math.isfinite(loss.item())
    assert loss.item() > TASKS[name].floor
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.isfinite().all(), label
        assert parameter.grad.any(), label


@pytest.mark.parametrize("name", TASKS)
def test_a_step_has_its_own_data_and_the_held_out_are_fixed(name):
    task, model = TASKS[name], built(name).eval()
    given = []
    for seed, step in ((1, 5), (2, 5), (1, 6)):
        torch.manual_seed(seed)  # what was drawn before changes nothing
        given.append(tensors(task.data(step)[0]))
    first, again, other = given
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    same = all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert same == (name == "graph convolutions, communities")  # one graph, other nodes
    with torch.no_grad():
        values = [loss_of(model, task.held_out()).item() for _ in range(2)]
    assert values[0] == values[1]
    assert math.isfinite(values[0])


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.recipe])
def test_a_recipe_changes_the_values_and_keeps_the_shapes(name):
    model = built(name)
    before = {label: p.detach().clone() for label, p in model.named_parameters()}
    torch.manual_seed(3)
    TASKS[name].recipe(model)
    after = dict(model.named_parameters())
    assert {k: v.shape for k, v in after.items()} == {k: v.shape for k, v in before.items()}
    assert any(not torch.equal(after[label], before[label]) for label in before)
    assert all(parameter.isfinite().all() for parameter in after.values())


@pytest.mark.parametrize(
    ("train", "held"),
    [
        made.pictures(),
        perceptrons.table(),
        graphs.graphs(),
        graphs.communities()[2:],
    ],
    ids=["digits", "table", "graphs", "nodes"],
)
def test_what_is_held_out_is_not_trained_on(train, held):
    known = {row.numpy().tobytes() for row in train[0]}
    assert not any(row.numpy().tobytes() in known for row in held[0])
    assert set(held[1].tolist()) == set(train[1].tolist())


def test_the_text_held_out_is_not_read_in_training():
    text = made.characters().tolist()
    cut = len(text) * 4 // 5
    for step, part in ((3, text[:cut]), (made.HELD_OUT, text[cut:])):
        pieces = ["\n".join(map(str, piece)) for piece in made.passages(step, 8, 20).tolist()]
        whole = "\n".join(map(str, part))
        assert all(piece in whole for piece in pieces)


def test_two_builds_under_two_seeds_differ():
    for name in TASKS:
        pairs = zip(built(name, 0).parameters(), built(name, 1).parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs), name


def test_gpt2_is_built_as_published():
    widths = {
        name: parameter.std().item()
        for name, parameter in built("GPT-2").named_parameters()
        if parameter.dim() > 1
    }
    for name, std in widths.items():
        expected = 0.02 / math.sqrt(6) if "c_proj" in name else 0.02
        assert std == pytest.approx(expected, rel=0.1), name


def test_a_zero_that_a_recipe_means_is_there():
    resnet = built("ResNet")
    convolutional.zero_gamma(resnet)
    scales = [m.weight for m in resnet.modules() if isinstance(m, nn.BatchNorm2d)]
    assert sum(not scale.any() for scale in scales) == 4  # one a block
    flow = built("RealNVP, two moons")
    generative.zero_last(flow)
    x = torch.tensor([[0.3, -1.2]])
    z, change = flow(x)
    assert torch.equal(z, x)  # nothing is moved
    assert not change.any()
    network = built("LSTM")
    sequences.open_memory(network)
    gates = network.memory.bias_ih_l0.chunk(4)
    assert [gate.unique().tolist() for gate in gates] == [[0.0], [1.0], [0.0], [0.0]]


def test_the_shape_starts_as_a_circle():
    torch.manual_seed(0)
    model = functions.Shape()
    functions.geometric(model)
    angle = torch.linspace(0, 2 * math.pi, 50)
    circle = functions.RADIUS * torch.stack([angle.cos(), angle.sin()], 1)
    found = model(torch.cat([torch.zeros(1, 2), circle]))
    assert found[0].item() == pytest.approx(-functions.RADIUS, abs=1e-6)
    assert found[1:].abs().mean().item() < 0.2


def test_a_delta_orthogonal_kernel_keeps_lengths():
    kernel = torch.empty(10, 10, 3, 3)
    convolutional.delta_orthogonal(kernel)
    x = torch.randn(2, 10, 7, 7)
    y = nn.functional.conv2d(x, kernel, padding=1)
    torch.testing.assert_close(y.norm(dim=1), x.norm(dim=1))


def test_communities_are_normalized_and_sums_are_over_zeros_and_ones():
    _, adjacency, _, _ = graphs.communities()
    assert torch.linalg.eigvalsh(adjacency)[-1].item() == pytest.approx(1, abs=1e-4)
    (_, linked), _ = graphs.kinds_told(0)
    assert linked.unique().tolist() == [0.0, 1.0]
    assert torch.equal(linked, linked.transpose(1, 2))
