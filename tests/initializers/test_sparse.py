"""Sparse: as many inputs a unit as asked for, anywhere, and a signal of the same size.

Seeds are fixed; a correct library fails a check under one seed in a million (p < 1e-6, 4.9
standard errors; more where many are compared at once).
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers import Sparse
from isoinit.initializers.scale import fans

DENSE = fans.linear((600, 400))


def per_unit(weight, layout):
    return (layout.to_maps(weight) != 0).sum((2, 3)).ravel()


@pytest.mark.parametrize(
    ("options", "layout", "inputs"),
    [
        ({"density": 0.1}, DENSE, 40),
        ({"density": 0.001}, DENSE, 1),  # never none
        ({"density": 1.0}, DENSE, 400),
        ({"connections": 15}, DENSE, 15),
        ({"connections": 999}, DENSE, 400),  # all there are
        ({"connections": 15}, fans.linear((400, 600), transposed=True), 15),
        ({"density": 0.25}, fans.conv((12, 8, 3, 3), 2), 18),
        ({"density": 0.25}, fans.conv_transpose((12, 8, 3, 3), 2), 14),  # 6·9/4 = 13.5, to even
        ({"connections": 3}, fans.linear((40, 10), 4), 3),
    ],
)
def test_every_unit_has_its_number_of_inputs(options, layout, inputs, draw):
    initializer = Sparse(**options)
    assert initializer.inputs(layout) == inputs
    assert (per_unit(draw(initializer, layout), layout) == inputs).all()


@settings(deadline=None)  # the first large fill of a session loads compiled kernels
@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 30),
    connections=st.integers(1, 40),
    seed=st.integers(0, 2**63),
)
def test_any_shape_has_its_number_of_inputs(rows, columns, connections, seed):
    layout = fans.linear((rows, columns))
    weight = Sparse(connections=connections).draw(Stream(seed, "weight"), layout)
    assert (per_unit(weight, layout) == min(connections, columns)).all()


def test_random_pattern_keeps_each_weight_by_itself(draw):
    """Counts a unit are binomial: their mean, their variance, and neighbours uncorrelated."""
    initializer = Sparse(density=0.1, pattern="random")
    kept = (draw(initializer, DENSE) != 0).astype(np.float64)
    assert kept.mean() == pytest.approx(0.1, abs=4.9 * math.sqrt(0.09 / kept.size))
    counts = kept.sum(1)  # variance 36, itself known to √(2/600)
    assert counts.var() == pytest.approx(36, rel=4.9 * math.sqrt(2 / 600))
    pairs = (kept[:, 1:] - 0.1) * (kept[:, :-1] - 0.1) / 0.09
    assert abs(pairs.mean()) < 4.9 / math.sqrt(pairs.size)
    assert initializer.inputs(DENSE) == 40


def test_every_input_is_as_likely(draw):
    """A fixed pattern's columns: hits are binomial over units; 5.8 σ is 1e-6 over 400 columns."""
    hits = (draw(Sparse(density=0.1), DENSE) != 0).sum(0)
    assert np.abs(hits - 60).max() < 5.8 * math.sqrt(600 * 0.1 * 0.9)


@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
@pytest.mark.parametrize(
    "options", [{"density": 0.1}, {"connections": 40}, {"density": 0.1, "pattern": "random"}]
)
def test_what_is_not_zero_is_normal(options, gain, draw):
    values = draw(Sparse(**options, gain=gain), DENSE)
    values = values[values != 0].astype(np.float64)
    assert stats.kstest(values, stats.norm(0, gain / math.sqrt(40)).cdf).pvalue > 1e-6


def test_units_of_a_random_pattern_are_scaled_by_their_own_inputs(draw):
    """Σw² of a unit has mean 1 whatever its k: the few and the many alike (4.9 standard errors)."""
    weight = draw(Sparse(density=0.02, pattern="random"), fans.linear((4000, 400))).astype(float)
    counts, sums = (weight != 0).sum(1), np.square(weight).sum(1)
    for some in (counts <= 5, counts >= 12):
        error = math.sqrt((2 / counts[some]).mean() / some.sum())
        assert sums[some].mean() == pytest.approx(1, abs=4.9 * error)


@pytest.mark.parametrize(
    ("pattern", "kept"), [("fixed", 0.1), ("random", 0.1), ("block20", 0.1), ("1:4", 0.25)]
)
def test_patterns_keep_their_share_and_the_scale(pattern, kept, draw):
    initializer = Sparse(pattern=pattern)
    weight = draw(initializer, DENSE).astype(np.float64)
    assert (weight != 0).mean() == pytest.approx(kept, rel=0.02)
    assert (weight != 0).any(0).all()
    variance = np.square(weight).sum(1)
    assert variance.mean() == pytest.approx(1, abs=4.9 * math.sqrt(3 / (400 * kept) / 600))
    assert initializer.std_for(DENSE) == pytest.approx(1 / 20)


def test_a_table_keeps_a_share_of_each_row(draw):
    """A row of 200 numbers keeps 20, of variance 10: those of a dense row of variance 1."""
    table = draw(Sparse(density=0.1), fans.embedding((500, 200), padding=3)).astype(np.float64)
    assert ((table != 0).sum(1) == 20).all()
    values = table[table != 0]
    assert stats.kstest(values, stats.norm(0, math.sqrt(10)).cdf).pvalue > 1e-6


def test_what_is_kept_is_drawn_without_the_rest():
    """A layer of 10¹² weights: ten inputs for each of its million units."""
    layout = fans.linear((10**6, 10**6))
    kept, values = Sparse(connections=2).draw_kept(Stream(0, "w"), layout, np.dtype(np.float32))
    assert len(values) == len(kept.columns) == 2 * 10**6
    assert len(np.unique(kept.columns)) == 10**6


@pytest.mark.parametrize("pattern", ["fixed", "random", "block20", "2:4"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_the_kept_values_are_those_of_the_whole_parameter(pattern, dtype):
    initializer = Sparse(pattern=pattern)
    kept, values = initializer.draw_kept(Stream(5, "w"), DENSE, np.dtype(dtype))
    whole = np.empty(600 * 400, dtype)
    initializer.fill(whole, Stream(5, "w"), DENSE)
    assert np.count_nonzero(whole) == np.count_nonzero(values)
    assert (whole.reshape(600, 400)[kept.rows, kept.columns] == values).all()


def test_a_strided_transposed_convolution_scales_by_the_taps_that_reach_an_output(draw):
    """In 32·16 of the kernel, 32·4 reach an output; half of them are zero: Var = 1/64."""
    layout = fans.conv_transpose((32, 64, 4, 4), stride=2)
    values = draw(Sparse(density=0.5), layout)
    values = values[values != 0].astype(np.float64)
    assert stats.kstest(values, stats.norm(0, 1 / 8).cdf).pvalue > 1e-6


@pytest.mark.parametrize("pattern", ["fixed", "random"])
@pytest.mark.parametrize("density", [0.05, 0.3, 1.0])
def test_the_output_keeps_its_variance(density, pattern, draw):
    """Var(y) = Σw² a unit, 1 on average; for a random pattern the number of terms varies too."""
    weight = torch.from_numpy(draw(Sparse(density=density, pattern=pattern), DENSE)).double()
    variance = weight.square().sum(1)
    kept = 400 * density
    spread = (2 if pattern == "fixed" else 3 - density) / kept  # of one unit's Σw²
    assert variance.mean().item() == pytest.approx(1, abs=4.9 * math.sqrt(spread / 600))
    assert Sparse(density=density, pattern=pattern).std_for(DENSE) == pytest.approx(1 / 20)


def test_relu_units_keep_their_second_moment(draw):
    """20 layers at a tenth of the weights; each adds an error of √(5/1000), so 4.9·√20 of it."""
    layout = fans.linear((1000, 1000))
    signal = torch.randn(1000, 50, generator=torch.Generator().manual_seed(0))
    for layer in range(20):
        weight = draw(Sparse(density=0.1, gain=math.sqrt(2)), layout, seed=layer)
        signal = torch.relu(torch.from_numpy(weight) @ signal)
    growth = 2 * signal.square().mean().item()
    assert abs(math.log(growth)) < 4.9 * math.sqrt(20 * 5 / 1000)


@pytest.mark.parametrize("connections", [2, 3])
def test_every_set_of_inputs_is_as_likely(connections):
    """Of 5 inputs 10 sets of either size: chi-square over 20,000 units, one seed in a million."""
    layout = fans.linear((20_000, 5))
    kept = Sparse(connections=connections).draw(Stream(0, "weight"), layout) != 0
    counts = np.bincount(kept @ (1 << np.arange(5)), minlength=32)
    sets = [code for code in range(32) if code.bit_count() == connections]
    assert counts[sets].sum() == 20_000
    assert stats.chisquare(counts[sets]).pvalue > 1e-6


@pytest.mark.parametrize("connections", [3, 20, 37])
def test_a_weight_does_not_depend_on_its_place(connections):
    """Mean square of what is kept at each of 40 inputs: χ², each 5.5 σ of 1e-6 over all."""
    layout = fans.linear((20_000, 40))
    weight = Sparse(connections=connections).draw(Stream(1, "weight"), layout)
    kept = (weight != 0).sum(0)
    squares = connections * np.square(weight).sum(0)
    assert (np.abs(squares - kept) < 5.5 * np.sqrt(2 * kept)).all()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"density": 0}, "density=0"),
        ({"density": 1.5}, "density=1.5"),
        ({"density": math.nan}, "density=nan"),
        ({"density": "0.1"}, "density='0.1'"),
        ({"connections": 0}, "connections=0"),
        ({"connections": 1.5}, "connections=1.5"),
        ({"connections": True}, "connections=True"),
        ({"connections": 3, "pattern": "random"}, "connections=.*pattern='random'"),
        ({"pattern": "block"}, "pattern='block'"),
        ({"gain": 0}, "gain=0"),
        ({"gain": -1.0}, "gain=-1.0"),
    ],
)
def test_bad_options(options, named):
    with pytest.raises(ArgumentError, match=named):
        Sparse(**options)


def test_a_vector_has_no_inputs(draw):
    for act in (Sparse().std_for, Sparse().inputs, lambda layout: draw(Sparse(), layout)):
        with pytest.raises(ArgumentError, match=r"vector of shape \(5,\)"):
            act(fans.vector((5,)))
