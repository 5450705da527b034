"""Which parameters share a group, and what it is called."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoinit._planning.transfer.optimizers.grouping import grouped
from transferred import NAMES, factors, mlp_transfer

ENTRIES = list(mlp_transfer().plan)


def with_factors(*found):
    """Entries with these factors, as many as there are."""
    return [replace(ENTRIES[0].called(f"p{n}"), factors=each) for n, each in enumerate(found)]


def test_groups_are_named_by_what_they_are():
    found = grouped(ENTRIES, decay_vectors=False)
    assert list(found) == NAMES
    assert found["vectors eps ×0.25"].members == ("0.bias", "2.bias")
    assert found["vectors eps ×0.25"].decay == 0
    assert found["hidden weight"].decay == 4


def test_what_decays_alike_is_one_group_where_vectors_decay_too():
    found = grouped(ENTRIES, decay_vectors=True)
    assert list(found) == ["input weight, vectors", "hidden weight", "readout", "vector"]


def test_namesakes_are_told_apart_by_what_differs():
    found = grouped(
        with_factors(factors(), factors(lr=1 / 16), factors(lr=1 / 16), factors(lr=2)),
        decay_vectors=False,
    )
    assert list(found) == [
        "hidden weight lr ×1",
        "hidden weights lr ×0.0625",
        "hidden weight lr ×2",
    ]


def test_the_first_factors_that_tell_are_enough():
    found = grouped(
        with_factors(factors(lr=0.5, eps=2), factors(), factors(decay=2)), decay_vectors=False
    )
    assert list(found) == [
        f"hidden weight {x}" for x in ("lr ×0.5 decay ×1", "lr ×1 decay ×1", "lr ×1 decay ×2")
    ]


def test_factors_that_differ_little_are_told_apart_with_more_digits():
    found = grouped(with_factors(factors(eps=1 / 3), factors(eps=0.33333)), decay_vectors=False)
    assert list(found) == ["hidden weight eps ×0.333333333", "hidden weight eps ×0.33333"]


def test_factors_that_differ_by_rounding_alone_are_one_group():
    found = grouped(with_factors(factors(lr=0.1 + 0.2), factors(lr=0.3)), decay_vectors=False)
    assert list(found) == ["hidden weights"]
    assert found["hidden weights"].lr == 0.1 + 0.2  # not rounded


def test_sgd_has_no_epsilon_to_be_told_apart_by():
    each = [factors(optimizer="sgd", eps=eps) for eps in (1, 0.5)]
    found = grouped(with_factors(*each), decay_vectors=False)
    assert found["hidden weights"].eps is None


def test_many_kinds_are_counted():
    kinds = ["input weight", "table", "bias", "gain", "readout"]
    found = grouped(with_factors(*[factors(kind) for kind in kinds]), decay_vectors=False)
    assert list(found) == ["input weight, table, bias, 2 more kinds"]


@pytest.mark.parametrize(
    ("kind", "many"),
    [("bias", "biases"), ("query and key", "query and keys"), ("entry", "entries")],
)
def test_plurals(kind, many):
    found = grouped(with_factors(factors(kind), factors(kind)), decay_vectors=False)
    assert list(found) == [many]


NUMBER = st.sampled_from([1.0, 0.5, 1 / 3, 0.333, 0.33333, 1e-9, 4.0])
FACTORS = st.builds(
    factors,
    st.sampled_from(["hidden weight", "vector", "readout"]),
    NUMBER,
    NUMBER,
    NUMBER,
    optimizer=st.sampled_from(["adamw", "sgd"]),
    decays=st.booleans(),
)


@given(st.lists(FACTORS, min_size=1, max_size=12), st.booleans())
@settings(max_examples=200, deadline=None)
def test_each_parameter_is_in_one_group_of_its_factors(found, decay_vectors):
    entries = with_factors(*found)
    groups = grouped(entries, decay_vectors=decay_vectors)
    members = [name for group in groups.values() for name in group.members]
    assert sorted(members) == sorted(entry.name for entry in entries)
    by_name = {entry.name: entry.factors for entry in entries}
    for name, group in groups.items():
        assert name == group.name
        for member in group.members:
            factor = by_name[member]
            decay = factor.decay if factor.decays or decay_vectors else 0
            assert (group.optimizer, group.lr, group.decay) == (factor.optimizer, factor.lr, decay)
            assert group.eps == (factor.eps if factor.optimizer == "adamw" else None)
