"""Each model of the second fresh set can be trained, on the same numbers each time."""

import sys
from pathlib import Path

import pytest
import torch

from trainable import holds_out, refills, repeats, starts, value, written

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # evidence is no part of the package

from evidence.contest.second import TASKS, codes, images, language, sequences  # noqa: E402

EACH = pytest.mark.parametrize("name", TASKS)


@EACH
def test_a_step_has_a_loss_and_a_gradient_everywhere(name):
    model = starts(TASKS[name])
    assert any(p.grad.any() for p in model.parameters())


@EACH
def test_a_step_has_its_own_numbers_whatever_was_drawn_before(name):
    repeats(TASKS[name])


@EACH
def test_what_is_held_out_is_the_same_each_time_and_never_trained_on(name):
    holds_out(TASKS[name])


@EACH
def test_two_seeds_give_two_models(name):
    both = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        both.append(list(TASKS[name].build().parameters()))
    assert any(not torch.equal(a, b) for a, b in zip(*both, strict=True))


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.recipe])
def test_a_recipe_writes_new_numbers_in_the_same_shapes(name):
    refills(TASKS[name])


def test_names_differ_from_each_other_and_from_other_sets():
    folder = ROOT / "evidence" / "contest"
    assert sorted(written(folder / "second")) == sorted(TASKS)
    assert set(TASKS).isdisjoint(written(folder / "fresh") + written(folder / "development"))
    assert all(len(task.source) > 20 for task in TASKS.values())


def test_a_model_is_evaluated_without_gradients():
    task = TASKS["Hamiltonian network, a star"]
    with torch.no_grad():
        assert torch.isfinite(value(task.build().eval(), task.held_out()))


def test_a_hull_holds_its_points():
    square = [(0.0, 0.0), (1.0, 0.0), (0.5, 0.4), (1.0, 1.0), (0.0, 1.0)]
    assert sequences.hull(square) == [0, 1, 3, 4]


def test_a_formula_has_the_values_of_its_parts():
    tokens, values = (x[0].tolist() for x in language.formulas(5, 1))
    rules = {10: min, 11: max, 12: lambda pair: sum(pair) % 10}
    for node in range(16, 31):
        children = 2 * (node - 16)
        assert values[node] == rules[tokens[node]](values[children : children + 2])


def test_a_turned_piece_is_told_alike():
    torch.manual_seed(0)
    model = images.P4CNN().eval()
    x = torch.randn(2, 1, 11, 11)
    torch.testing.assert_close(model(torch.rot90(x, 1, (2, 3))), model(x))


def test_a_flow_knows_how_its_volume_grows():
    torch.manual_seed(0)
    step = codes.GlowStep(4, 8).eval()
    x = torch.randn(1, 4, 2, 2)
    slope = torch.autograd.functional.jacobian(lambda x: step(x)[0], x).view(16, 16)
    torch.testing.assert_close(torch.linalg.slogdet(slope)[1], step(x)[1][0])


def test_layers_of_a_hamiltonian_field_keep_its_energy():
    torch.manual_seed(0)
    model = codes.HamiltonianLayers(layers=1, time=1e-3)
    model.out = torch.nn.Identity()
    y = torch.randn(5, 8, requires_grad=True)
    energy = torch.cosh(y @ model.k[0] + model.b[0]).log().sum()
    (slope,) = torch.autograd.grad(energy, y)
    moved = model(y) - y
    assert (slope * moved).sum(1).abs().max() < 1e-3 * slope.norm() * moved.norm()
    assert moved.norm() > 1e-4
