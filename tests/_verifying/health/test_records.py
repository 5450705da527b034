"""What is measured: numbers that can be compared."""

from dataclasses import replace

from isoinit._verifying.health.records import LayerHealth

LAYER = LayerHealth("up", 1, mean=0.5, std=1.0)


def test_what_was_not_measured_is_equal_to_itself():
    assert LAYER.rank != LAYER.rank  # NaN
    assert replace(LAYER, rank=float("nan")) == LAYER
    assert replace(LAYER, rank=2.0) != LAYER
    assert replace(LAYER, mean=0.25) != LAYER
    assert replace(LAYER, expected=1.0) != LAYER
    assert LAYER != "up"
