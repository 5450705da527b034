"""Which parameter of the base each one of the target stands for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import isoinit
from isoinit._planning.transfer.twins import twins
from isoinit._planning.verbs import planned
from isoinit._reading.roles import Role
from isoinit.errors import PlanError

X = torch.zeros(2, 8)


def roles(model: nn.Module) -> dict[str, Role]:
    return planned(model, X, method="auto", recipe=None, overrides=None, keep="own")[1].roles


def stack(width: int, hidden: int) -> nn.Sequential:
    layers = [m for _ in range(hidden) for m in (nn.ReLU(), nn.Linear(width, width))]
    return nn.Sequential(nn.Linear(8, width), *layers, nn.ReLU(), nn.Linear(width, 3))


class Residual(nn.Module):
    """Blocks of two kinds, in turns."""

    def __init__(self, width: int, blocks: int, numbered: str = "") -> None:
        super().__init__()
        self.first = nn.Linear(8, width)
        made = [
            nn.Linear(width, width)
            if at % 2 == 0
            else nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
            for at in range(blocks)
        ]
        self.numbered, self.count = numbered, blocks
        if numbered:
            for at, block in enumerate(made):
                setattr(self, f"{numbered}{at + 1}", block)
        else:
            self.blocks = nn.ModuleList(made)
        self.last = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for at in range(self.count):
            block = getattr(self, f"{self.numbered}{at + 1}") if self.numbered else self.blocks[at]
            x = x + block(torch.relu(x))
        return self.last(x)


def test_the_same_names_are_twins() -> None:
    found = twins(roles(stack(16, 2)), roles(stack(32, 2)))
    assert all(name == twin for name, twin in found.items())


def test_the_last_of_a_deeper_stack_stands_for_the_last() -> None:
    found = twins(roles(stack(16, 1)), roles(stack(16, 4)))
    weights = {name: twin for name, twin in found.items() if "weight" in name}
    assert weights == {
        "0.weight": "0.weight",
        "2.weight": "2.weight",
        "4.weight": "2.weight",
        "6.weight": "2.weight",
        "8.weight": "2.weight",
        "10.weight": "4.weight",
    }


@pytest.mark.parametrize("numbered", ["", "layer"])
def test_blocks_of_two_kinds_stand_for_their_own_kind(numbered: str) -> None:
    found = twins(roles(Residual(16, 2, numbered)), roles(Residual(16, 6, numbered)))
    pattern = f"{numbered}{{}}" if numbered else "blocks.{}"
    first = 1 if numbered else 0
    for at in range(6):
        one = pattern.format(at + first) + (".weight" if at % 2 == 0 else ".0.weight")
        other = pattern.format(at % 2 + first) + (".weight" if at % 2 == 0 else ".0.weight")
        assert found[one] == other


def test_every_parameter_of_the_base_stands_for_one() -> None:
    base, target = roles(Residual(16, 4)), roles(Residual(16, 10))
    assert set(twins(base, target).values()) == set(base)


def test_what_has_no_counterpart_is_named() -> None:
    with_bias, without = nn.Linear(8, 4), nn.Linear(8, 4, bias=False)
    with pytest.raises(PlanError, match="'bias' has no counterpart"):
        isoinit.transfer(without, with_bias, X)
    with pytest.raises(PlanError, match="'bias' of the base has no counterpart in the target"):
        isoinit.transfer(with_bias, without, X)


def test_other_ranks_are_no_twins() -> None:
    one = nn.Sequential(nn.Linear(8, 8), nn.Unflatten(1, (8, 1)), nn.Conv1d(8, 8, 1))
    other = nn.Sequential(nn.Linear(8, 8), nn.Identity(), nn.Linear(8, 8))
    with pytest.raises(PlanError, match=r"'2\.weight' has no counterpart"):
        isoinit.transfer(one, other, X)
