"""Samples: the same numbers as NumPy's generator, and signals with other fields."""

import dataclasses

import numpy as np
import pytest

from isoinit._planning.propagation import draws
from isoinit._planning.propagation.draws import SAMPLES, Draws
from isoinit._planning.propagation.samples import Signal, gaussian, put_right, replace

# How many orders are asked for before, between and after other numbers.
ASKED = [(0, 0, 1), (1, 2, 3), (63, 1, 1), (64, 1, 1), (65, 0, 2), (130, 3, 0)]


@pytest.mark.parametrize(("before", "between", "after"), ASKED)
def test_all_numbers_are_those_of_the_generator(before, between, after):
    ours, theirs = Draws(), np.random.default_rng(0)

    def orders(count):
        for _ in range(count):
            np.testing.assert_array_equal(ours.permutation(SAMPLES), theirs.permutation(SAMPLES))

    orders(before)
    np.testing.assert_array_equal(ours.random((2, 3)), theirs.random((2, 3)))
    orders(between)
    some = np.arange(7) * 0.5
    np.testing.assert_array_equal(ours.permutation(some), theirs.permutation(some))
    orders(after)


def test_more_orders_than_are_kept(monkeypatch):
    monkeypatch.setattr(draws, "KEPT", 3)
    for _ in range(2):
        ours, theirs = Draws(), np.random.default_rng(0)
        for _ in range(6):
            np.testing.assert_array_equal(ours.permutation(SAMPLES), theirs.permutation(SAMPLES))


def test_an_order_is_the_callers_own():
    first = Draws().permutation(SAMPLES)
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(Draws().permutation(SAMPLES), kept)


def test_replace_does_what_dataclasses_do_and_keeps_what_the_rows_tell():
    signal = gaussian(Draws(), np.eye(3), frozenset({1}))
    _ = signal.second, signal.mean, signal.makers, signal.products
    moved = replace(signal, units=frozenset({0}), shares=3)
    plain = dataclasses.replace(signal, units=frozenset({0}), shares=3)
    assert moved.rows is plain.rows is signal.rows
    for name in ("units", "shares", "even", "measured", "unlike", "dtype"):
        assert getattr(moved, name) == getattr(plain, name)
    assert (moved.second, moved.mean, moved.makers) == (plain.second, plain.mean, plain.makers)
    twice = replace(signal, rows=2 * signal.rows)
    assert twice.second == pytest.approx(4 * signal.second)
    np.testing.assert_allclose(twice.products, 4 * signal.products)
    with pytest.raises(TypeError):
        replace(signal, unit=frozenset())


def test_products_are_the_callers_own():
    signal = gaussian(Draws(), np.eye(3))
    signal.products[0, 0] = 7
    assert signal.products[0, 0] == pytest.approx(1)


WANTED = [
    np.eye(3),
    np.array([[2.0, 0.5, 0.1], [0.5, 2.0, 0.1], [0.1, 0.1, 2.0]]),
    np.ones((3, 3)),  # all places and examples are alike
    np.zeros((3, 3)),
    np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),  # of no signal
]


@pytest.mark.parametrize("wanted", WANTED)
def test_samples_have_the_products_that_were_asked_for(wanted):
    made = gaussian(Draws(), wanted).products
    assert np.isfinite(made).all()
    np.testing.assert_allclose(np.diag(made), np.diag(wanted), atol=1e-12)
    if np.linalg.eigvalsh(wanted).min() >= 0:
        np.testing.assert_allclose(made, wanted, atol=1e-12)


def test_a_sum_of_independent_signals_has_the_products_of_both():
    rng = Draws()
    one, two = gaussian(rng, WANTED[1]), gaussian(rng, np.eye(3))
    made = Signal(put_right("add", one.rows + two.rows, one, two), frozenset())
    np.testing.assert_allclose(made.products, one.products + two.products, atol=1e-9)


def test_what_a_few_samples_make_up_is_not_trusted():
    rows = np.zeros((3, SAMPLES))
    rows[:, :7] = 1e6
    rows += 1e-3
    assert not Signal(rows, frozenset()).trusted
    rows[:, :40] = 1e6
    assert Signal(rows, frozenset()).trusted
    assert gaussian(Draws(), np.eye(3)).trusted
