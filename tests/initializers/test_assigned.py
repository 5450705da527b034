"""What a weight that a module computes is assigned with."""

import numpy as np
import pytest

from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers import Assigned, HeNormal, Initializer, Zeros, bare
from isoinit.initializers.scale import fans

LAYOUT = fans.linear((6, 8))


def test_a_parameter_that_holds_the_weight_is_drawn_like_it(draw):
    assigned = Assigned(HeNormal(), "w", LAYOUT, direct=True, scale=2.0)
    np.testing.assert_array_equal(draw(assigned, LAYOUT), draw(HeNormal().scaled(2.0), LAYOUT))
    assert assigned.std_for(LAYOUT) == HeNormal().std_for(LAYOUT)


def test_any_other_is_refused_without_the_model():
    assigned = Assigned(HeNormal(), "w", LAYOUT)
    with pytest.raises(ArgumentError, match="right_inverse"):
        assigned.fill(np.empty(48, np.float32), Stream(0, "w"), LAYOUT)
    with pytest.raises(ArgumentError, match="right_inverse"):
        assigned.law(LAYOUT, np.dtype(np.float32))


def test_a_prescribed_size_stays():
    assigned = Assigned(HeNormal(), "w", LAYOUT, size=0.25)
    assert assigned.std_for(fans.vector((3,))) == 0.25
    with pytest.raises(ArgumentError, match="fixes the scale"):
        assigned.scaled(2.0)
    assert Assigned(HeNormal(), "w", LAYOUT).scaled(2.0).base == HeNormal().scaled(2.0)


def test_saved_and_read_back():
    assigned = Assigned(HeNormal(), "w", LAYOUT, 1, scale=1.5, size=0.1)
    assert Initializer.from_dict(assigned.to_dict()) == assigned
    assert str(assigned) == f"Assigned({HeNormal()})"
    assert bare(assigned) == HeNormal()
    assert Assigned(Zeros(), "w", LAYOUT).is_constant
