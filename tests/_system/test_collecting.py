"""The search for circles is put off in a block, and what the caller had set is put back."""

import gc

import pytest

from isoinit._system.collecting import uncollected


@pytest.mark.parametrize("on", [True, False])
def test_what_was_set_is_put_back(on):
    before = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        with uncollected():
            assert not gc.isenabled()
            with uncollected():
                assert not gc.isenabled()
            assert not gc.isenabled()
        with pytest.raises(KeyError), uncollected():
            raise KeyError
        assert gc.isenabled() == on
    finally:
        (gc.enable if before else gc.disable)()
