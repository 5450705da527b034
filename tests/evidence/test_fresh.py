"""Each model of the fresh set can be trained, on the same numbers each time."""

import sys
from pathlib import Path

import pytest
import torch

from trainable import holds_out, lines, refills, repeats, starts, written

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # evidence is no part of the package

from evidence.contest.fresh import TASKS  # noqa: E402

EACH = pytest.mark.parametrize("name", TASKS)
UNUSED = {
    "EGNN, charged particles": "layers.2.node_mlp"
}  # as published: the last features are not read
WHOLE = {"graph attention, papers", "GCNII, districts of a map"}  # nodes of one graph are held out


def read_nodes(step):
    """The nodes of a graph whose outputs make the loss."""
    output = torch.zeros(len(step[0]["x"]), 5, requires_grad=True)
    step[1](output).backward()
    return set(output.grad.abs().sum(1).nonzero()[:, 0].tolist())


@EACH
def test_a_step_has_a_loss_and_a_gradient_everywhere(name):
    starts(TASKS[name], UNUSED.get(name, "-"))


@EACH
def test_a_step_has_its_own_numbers_whatever_was_drawn_before(name):
    repeats(TASKS[name], name in WHOLE)


@EACH
def test_what_is_held_out_is_the_same_each_time_and_never_trained_on(name):
    holds_out(TASKS[name], read_nodes if name in WHOLE else lines)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.recipe])
def test_a_recipe_writes_new_numbers_in_the_same_shapes(name):
    refills(TASKS[name])


def test_names_differ_and_sources_are_named():
    assert sorted(written(ROOT / "evidence" / "contest" / "fresh")) == sorted(TASKS)
    assert all(len(task.source) > 20 for task in TASKS.values())
