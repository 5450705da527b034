"""Output biases from what is known before training."""

import math

import numpy as np
import pytest

from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers import Initializer, LogFrequencies, PriorBias
from isoinit.initializers.scale import fans


def test_the_softmax_of_the_bias_is_the_frequencies():
    bias = LogFrequencies([3, 1, 4]).draw(Stream(0, "b"), fans.vector((3,)))
    np.testing.assert_allclose(np.exp(bias) / np.exp(bias).sum(), [3 / 8, 1 / 8, 1 / 2])
    assert np.exp(bias).sum() == pytest.approx(1)


def test_frequencies_survive_saving():
    initializer = LogFrequencies([3, 1, 4])
    assert Initializer.from_dict(initializer.to_dict()) == initializer
    assert hash(initializer) == hash(LogFrequencies((3.0, 1.0, 4.0)))


@pytest.mark.parametrize("frequencies", [[], [1, 0], [1, -1], [1, math.inf], [1, math.nan]])
def test_frequencies_that_have_no_logarithm_are_refused(frequencies):
    with pytest.raises(ArgumentError, match="the number of examples of each class"):
        LogFrequencies(frequencies)


def test_a_bias_of_another_length_is_refused():
    with pytest.raises(ArgumentError, match=r"3 classes.*\(4,\)"):
        LogFrequencies([1, 2, 3]).std_for(fans.vector((4,)))


def test_the_sigmoid_of_the_bias_is_the_prior():
    value = PriorBias().mean_for(fans.vector((5,)))
    assert 1 / (1 + math.exp(-value)) == pytest.approx(0.01)  # Lin et al. 2017, section 4.1
    for prior in (0, 1, -0.1, 2):
        with pytest.raises(ArgumentError, match="prior"):
            PriorBias(prior)
