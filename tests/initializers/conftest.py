"""What the tests of all initializers share."""

import numpy as np
import pytest

from isoinit._drawing.streams import Stream


@pytest.fixture(scope="session")
def draw():
    """The whole parameter that an initializer gives, in its stored shape."""

    def drawn(initializer, layout, dtype=np.float32, seed=0):
        out = np.empty(int(np.prod(layout.shape)), dtype)
        initializer.fill(out, Stream(seed, "weight"), layout)
        return out.reshape(layout.shape)

    return drawn
