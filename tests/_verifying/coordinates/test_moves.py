"""Slopes by least squares, kinds, and the verdict on them."""

import math

import pytest

from isoinit._verifying.coordinates.judge import judge
from isoinit._verifying.coordinates.moves import Kind, Layer, gathered, kinds_of
from isoinit._verifying.coordinates.trials import Moved, Trial

WIDTHS = (32, 64, 128)


def layer(name="0", kind="hidden", power=0.0, seeds=(1.0, 1.0)):
    """One whose change is width^power."""
    changes = tuple(tuple(s * w**power for s in seeds) for w in WIDTHS)
    return Layer(name, kind, WIDTHS, (changes,))


def trial(width, seed=0, losses=(1.0,), **moved):
    return Trial("Model", width, seed, moved, (), losses)


def said(*layers, losses=(1.0,), optimizer="adamw"):
    trials = [trial(width, losses=losses) for width in WIDTHS]
    return judge(kinds_of(layers), trials, 1, "transfer", optimizer)


def names(*layers):
    return [(f.name, f.severity) for f in said(*layers)]


@pytest.mark.parametrize("power", [-1.0, -0.3, 0.0, 0.5, 2.0])
def test_the_slope_of_a_power_is_the_power(power):
    assert layer(power=power).slope(1) == pytest.approx(power, abs=1e-12)


def test_seeds_are_averaged_first():
    changes = (((1.0, 3.0), (2.0, 6.0), (8.0, 8.0)),)
    assert Layer("0", "hidden", WIDTHS, changes).by_width(1) == [2.0, 4.0, 8.0]
    assert Layer("0", "hidden", WIDTHS, changes).slope(1) == pytest.approx(1)


@pytest.mark.parametrize("lost", [0.0, math.nan, math.inf])
def test_what_has_no_logarithm_has_no_slope(lost):
    changes = (((1.0,), (lost,), (1.0,)),)
    assert math.isnan(Layer("0", "hidden", WIDTHS, changes).slope(1))


def test_layers_of_one_name_but_for_numbers_are_pooled():
    layers = [layer(f"h.{i}.{n}", power=p) for i, p in enumerate((0.1, 0.3)) for n in ("q", "fc")]
    first, second = kinds_of([*layers, layer("h.2.q", "scores")])[:2]
    assert (first.name, second.name) == ("h.0…1.q", "h.0…1.fc")
    assert first.slope(1) == pytest.approx(0.2)
    assert list(first.slopes(1).values()) == pytest.approx([0.1, 0.3])
    assert first.by_width(1) == pytest.approx([w**0.2 for w in WIDTHS])


def test_a_band_spans_layers_and_seeds():
    kind = Kind("0…1", "hidden", (layer(seeds=(1.0, 2.0)), layer("1", seeds=(0.5, 3.0))))
    assert kind.range_at(1, min) == [0.5] * 3
    assert kind.range_at(1, max) == [3.0] * 3


class TestGathered:
    def test_what_a_layer_is_to_the_width(self):
        def made(terms, size, part="layer"):
            return Moved(part, "", terms, size, (1.0,))

        def of(width):
            return trial(
                width,
                first=made(8, width),
                table=made(0, width),
                hidden=made(width, width),
                last=made(width, 4),
                scores=made(0, 16, "scores"),
            )

        layers, left = gathered([of(width) for width in WIDTHS], lambda width, parameter: 1.0)
        kinds = {layer.name: layer.kind for layer in layers}
        assert kinds == {
            "first": "input",
            "table": "input",
            "hidden": "hidden",
            "last": "output",
            "scores": "scores",
        }
        assert left == ()

    def test_the_gauge_is_taken_out(self):
        trials = [trial(w, x=Moved("layer", "x.weight", w, w, (w**0.5,))) for w in WIDTHS]
        (found,), _ = gathered(trials, lambda width, parameter: width**0.5 * (parameter != ""))
        assert found.by_width(1) == pytest.approx([1.0] * 3)

    def test_what_not_all_models_have_is_left_out(self):
        one = Moved("layer", "", 1, 1, (1.0,))
        trials = [trial(w, x=one, **({"y": one} if w > 32 else {})) for w in WIDTHS]
        layers, left = gathered(trials, lambda width, parameter: 1.0)
        assert ([layer.name for layer in layers], left) == (["x"], ("y",))


class TestJudge:
    def test_flat_is_fine(self):
        assert said(layer(), layer("h", power=0.25 - 1e-9), layer("g", power=-0.25 + 1e-9)) == []

    @pytest.mark.parametrize("kind", ["input", "hidden", "output", "scores"])
    def test_growth_is_an_error(self, kind):
        assert names(layer(kind=kind, power=0.3)) == [("grows with width", "error")]

    def test_falling_is_an_error_of_layers_alone(self):
        assert names(layer(power=-0.3)) == [("shrinks with width", "error")]
        assert names(layer(kind="output", power=-0.5), layer("1", "scores", -0.5)) == []

    def test_sgd_is_told_of_its_start(self):
        (found,) = said(layer(power=-0.3), optimizer="sgd")
        assert "start the readout at zero" in found.advice

    def test_one_layer_of_an_even_kind_is_a_warning(self):
        found = said(layer("h.0.fc"), layer("h.1.fc", power=0.4))
        assert [(f.severity, f.where) for f in found] == [("warning", ("h.1.fc",))]
        assert found[0].value == pytest.approx(0.4)

    def test_layers_that_do_not_move_do_not_hide_the_others(self):
        still = Layer("h.0.fc", "hidden", WIDTHS, (((0.0,),) * 3,))
        found = names(still, layer("h.1.fc", power=1.0))
        assert found == [("grows with width", "error"), ("not moved", "remark")]

    def test_what_moves_at_some_widths_alone_is_an_error(self):
        found = said(Layer("0", "hidden", WIDTHS, (((0.0,), (1.0,), (1.0,)),)))
        assert [f.name for f in found] == ["moved at some widths"]
        assert "at width 32 " in found[0].sentence

    def test_a_training_that_diverged_is_the_one_finding(self):
        (found,) = said(layer(power=1.0), losses=(1.0, math.nan))
        assert (found.name, found.severity) == ("diverged", "error")
        assert "at width 32, 64, 128 the loss is nan before step 2" in found.sentence
