"""What values say: random fills are told from what somebody meant."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from isoinit._reading.values import look, rows_alike

FILLS = {
    "normal": lambda t: nn.init.normal_(t, std=0.02),
    "uniform": lambda t: nn.init.uniform_(t, -0.1, 0.1),
    "positive": lambda t: nn.init.uniform_(t, 0.0, 1.0),
    "cut": lambda t: nn.init.trunc_normal_(t, std=0.02),
    "xavier": nn.init.xavier_uniform_,
    "he": nn.init.kaiming_normal_,
    "orthogonal": nn.init.orthogonal_,
    "sparse": lambda t: nn.init.sparse_(t, 0.6),
    "heavy tails": lambda t: t.cauchy_(),
    "two sizes": lambda t: t.normal_().mul_(
        torch.where(torch.arange(len(t)) % 3 == 0, 1, 50)[:, None]
    ),
    "a row of zeros": lambda t: nn.init.zeros_(nn.init.normal_(t)[3]),
}
SHAPES = [(40, 40), (64, 8), (8, 300)]


def values(tensor):
    return tensor.detach().double().numpy()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fill", FILLS)
def test_a_random_fill_looks_random(fill, shape):
    """120 values of 6 standard errors each: a false alarm in fifty thousand runs."""
    torch.manual_seed(0)
    for _ in range(20):
        tensor = torch.empty(shape)
        FILLS[fill](tensor)
        assert look(values(tensor)).kind == "random"


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=5).filter(lambda s: math.prod(s) >= 8),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
)
def test_of_any_shape_and_type(shape, seed, dtype):
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    exact = dtype in (torch.float32, torch.float64)
    assert look(values(drawn), exact=exact).kind == "random"


N = torch.arange(1, 17.0)
MEANT = {
    "equal steps": (torch.linspace(-2, 2, 12), "the numbers −2 to 2 in equal steps"),
    "equal ratios": (2.0 ** -torch.arange(8.0), "equal ratios"),
    "logarithms": (N.log(), "the logarithms of numbers in equal steps, 0 to 2.77"),
    "rows of logarithms": (N.log().expand(5, 16), "in order along each row"),
    "powers": ((N / 16) ** 0.3, "in order"),
    "signs": (torch.randn(6, 9).sign(), "the numbers −1 and 1"),
    "identity": (torch.eye(9), "the numbers 0 and 1"),
    "identity and noise": (torch.eye(16) + 1e-4 * torch.randn(16, 16), "a diagonal of about 1"),
    "a kernel that passes on": (nn.init.dirac_(torch.empty(8, 8, 3, 3)), "the numbers 0 and 1"),
    "two constants": (torch.cat([torch.ones(9), torch.zeros(9)]), "the numbers 0 and 1"),
    "one gate": (torch.tensor([0.0] * 11 + [1.5]), "0 in every element but one, which is 1.5"),
    "cosines": (torch.cos(math.pi / 32 * (torch.arange(32) + 0.5) * N[:, None]), "repeat"),
    "sines": (torch.sin(torch.arange(30.0)[:, None] / 50 ** (N / 16)), "pattern along axis 0"),
    "copies": (torch.randn(4, 8).repeat(3, 1), "numbers that repeat (32 different ones of 96)"),
    "few": (torch.tensor([1.0, 0.2, 0.7]), "the numbers 1, 0.2, 0.7"),
}


@pytest.mark.parametrize("name", MEANT)
def test_what_is_meant_is_said(name):
    tensor, said = MEANT[name]
    found = look(values(tensor))
    assert found.kind == ("few" if name == "few" else "structured")
    assert said in found.said


@pytest.mark.parametrize("shape", [(7,), (9,), (1, 8), (8, 1)])
@pytest.mark.parametrize("turn", [1, -1])
def test_few_random_numbers_may_come_in_order(shape, turn):
    """Of a million vectors of seven, 400 do."""
    drawn = np.sort(np.random.default_rng(0).uniform(-0.3, 0.3, math.prod(shape)))[::turn]
    assert look(drawn.reshape(shape)).kind in ("random", "few")


@pytest.mark.parametrize("value", [-2.0, 0.1, 1e-6, 20.0])
def test_a_constant_is_the_number_that_was_written(value):
    found = look(torch.full((3, 4), value).numpy())
    assert (found.kind, found.mean, found.std) == ("constant", value, 0)
    assert found.said == f"{value} in every element".replace("-", "−")


def test_a_constant_but_for_one_element_is_none():
    large = torch.zeros(300, 300)
    large[7, 11] = 1  # between those that are sampled
    assert look(large.numpy()).kind != "constant"


@pytest.mark.parametrize("centre", [0.0, 1.0, -3.0])
@pytest.mark.parametrize("spread", [1e-10, 1e-4])
def test_small_numbers_are_in_no_order(centre, spread):
    """Rounding makes few of numbers that hardly differ; those that are left are as random."""
    drawn = centre + spread * torch.randn(40, 40, dtype=torch.float64)
    found = look(drawn.numpy())
    assert found.kind == "random", found.said


def test_nothing_is_known_of_what_is_not_finite():
    assert look(np.array([1.0, np.nan])).kind == "unwritten"
    assert look(np.empty((0, 3))).kind == "unwritten"


def test_few_small_values_are_centred_by_the_benefit_of_the_doubt():
    drawn = np.random.default_rng(0).uniform(-0.4, 0.4, (5_000, 8)).astype(np.float32)
    assert all(look(values).centred_on(0) for values in drawn)
    assert not look(np.random.default_rng(0).uniform(-7, -2, 8)).centred_on(0)


def test_few_numbers_of_many_digits_are_nobodys_choice():
    assert look(np.array([0.12345678, -0.3456789])).kind == "random"
    assert look(np.array([0.125, -0.5])).kind == "few"


@given(st.integers(2, 9), st.integers(1, 7), st.integers(0, 9))
@settings(max_examples=25)
def test_what_rows_have_in_common_is_the_mean_over_all_pairs(count, width, seed):
    table = np.random.default_rng(seed).normal(0.3, 1.0, (count, width)).astype(np.float32)
    wide = table.astype(np.float64)
    pairs = [wide[i] @ wide[j] / width for i in range(count) for j in range(count) if i != j]
    assert rows_alike(table) == pytest.approx(np.mean(pairs), rel=1e-6, abs=1e-6)


def test_a_single_row_has_but_its_mean_in_common():
    assert rows_alike(np.array([1.0, 3.0])) == rows_alike(np.array([[1.0, 3.0]])) == 4.0
