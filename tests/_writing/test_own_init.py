"""Which methods a model initializes itself by, and how they are to be called."""

import pytest
from torch import nn

from isoinit._writing.own_init import own_calls


class Plain(nn.Module):
    def _init_weights(self):
        """Of the whole module."""


class Each(nn.Module):
    def _init_weights(self, module):
        """Of one module in it."""


class Any(nn.Module):
    def _init_weights(*given):
        """Of the whole module, whatever the names."""


class Shared(nn.Module):
    @staticmethod
    def _init_weights(module, std=0.02):
        """Of one module."""


@pytest.mark.parametrize(("kind", "count"), [(Plain, 1), (Each, 1), (Any, 1), (Shared, 1)])
def test_a_method_is_found_by_how_many_arguments_it_must_be_given(kind, count):
    for _ in range(2):  # the second time from what is remembered of its function
        layers, models = own_calls(kind())
        assert not layers
        assert [call.name for call in models] == ["_init_weights"] * count
        models[0].run()


def test_a_method_of_a_single_module_counts_by_what_stands_on_it():
    model = Plain()
    model._init_weights = lambda first, second: None
    assert own_calls(model) == ([], [])
    assert len(own_calls(Plain())[1]) == 1
