"""The frame of the claims, and the closed forms that they expect by."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # evidence is no part of the package

from evidence.claims import __main__ as page  # noqa: E402
from evidence.claims import claim as frame  # noqa: E402
from evidence.claims import modes  # noqa: E402
from evidence.claims.claim import Claim, Found, markdown  # noqa: E402
from evidence.claims.theory import (  # noqa: E402
    FUNCTIONS,
    P,
    Z,
    backward,
    expected,
    forward,
    scatter,
)

FOUND = [Found("a size", "1", "1.02", True), Found("another", "below 2", "3", False)]
CLAIM = Claim("some", "A title", "It is so.", "Someone 2020", "A network.", lambda: (FOUND, ""))


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(frame, "PICTURES", tmp_path)
    return tmp_path


def test_a_section_says_what_was_claimed_expected_and_found(pictures):
    section = markdown(CLAIM, FOUND, "Because.", 12.3)
    assert section.startswith("## A title\n\nIt is so. (Someone 2020)\n\n")
    assert "*Setting.* A network. 12 s; `python -m evidence.claims.some`." in section
    assert "| a size | 1 | 1.02 | holds |\n| another | below 2 | 3 | **does not hold** |" in section
    assert section.endswith("\n\nBecause.\n")


def test_a_section_shows_the_pictures_of_its_own_claim(pictures):
    for name in ("some", "some-more", "other"):
        (pictures / f"{name}.svg").touch()
    section = markdown(CLAIM, FOUND, "", 1)
    assert "![A title](pictures/some.svg)" in section
    assert "![A title](pictures/some-more.svg)" in section
    assert "other.svg" not in section


def test_unknown_claims_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["claims", "zero", "zeros"])
    with pytest.raises(SystemExit):
        page.main()
    assert "no claim is called zeros: zero, random" in capsys.readouterr().err


def test_the_page_has_a_place_for_every_claim():
    text = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    for name in page.CLAIMS:
        assert f"<!-- {name} -->\n" in text
        assert f"<!-- end of {name} -->" in text


def test_quadrature_knows_the_normal_moments():
    for power, moment in enumerate((1, 0, 1, 0, 3, 0, 15)):
        assert P @ Z**power == pytest.approx(moment, abs=1e-6)


# Gains and backward ratios E f'²/E f² at q = 1; SELU keeps 0 and 1 (Klambauer et al. 2017).
@pytest.mark.parametrize(
    ("name", "gain", "ratio"),
    [("ReLU", 2**0.5, 1), ("tanh", 1.592537, 1.1778), ("SELU", 1, 1.0716)],
)
def test_known_gains_and_backward_ratios(name, gain, ratio):
    function, slope = FUNCTIONS[name]
    assert expected(function, 1) ** -0.5 == pytest.approx(gain, abs=1e-6)
    assert expected(slope, 1) / expected(function, 1) == pytest.approx(ratio, abs=1e-4)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes_are_those_of_the_functions(name):
    function, slope = FUNCTIONS[name]
    z = np.array([-3.1, -0.4, 0.3, 2.2])
    assert slope(z) == pytest.approx((function(z + 1e-6) - function(z - 1e-6)) / 2e-6, abs=1e-8)


def test_selu_has_its_fixed_point_and_draws_to_it():
    selu = FUNCTIONS["SELU"][0]
    assert expected(selu, 1, 1) == pytest.approx(0, abs=1e-12)
    # The paper's Jacobian at the fixed point: 0.782648 for the variance.
    slope = (expected(selu, 1 + 1e-4) - expected(selu, 1 - 1e-4)) / 2e-4
    assert slope == pytest.approx(0.782648, abs=1e-5)
    for start in (0.25, 5.0):
        assert forward("SELU", 1, start, 100)[-1] == pytest.approx(1, abs=1e-6)


# Poole et al. 2016; the critical pair of tanh at q = 1, without the bias's 0.1510.
def test_tanh_keeps_its_critical_point():
    variance = 2.1533
    assert variance * expected(np.tanh, 1) + 0.1510 == pytest.approx(1, abs=1e-3)
    assert backward("tanh", variance, [1.0, 1.0])[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("name", "factor"), [("no activation", 0.9), ("ReLU", 0.45)])
def test_without_a_curve_factors_are_constant(name, factor):
    sizes = forward(name, 0.9, 3.0, 30)
    assert sizes == pytest.approx([3 * factor**layer for layer in range(30)])
    assert backward(name, 0.9, sizes) == pytest.approx([factor ** (29 - i) for i in range(30)])


def test_scatter_of_a_layer():
    assert scatter("no activation") == pytest.approx(2)
    assert scatter("ReLU", 7.0) == pytest.approx(5)
    # Of tanh by a sample.
    f = np.tanh(np.random.default_rng(0).standard_normal(10**5)) ** 2
    assert scatter("tanh") == pytest.approx(f.var() / f.mean() ** 2, rel=0.03)
    assert math.isclose(scatter("tanh", 1e-8), 2, rel_tol=1e-4)


def test_the_learning_time_of_one_mode_is_that_of_its_closed_form():
    """One matrix: 1 - s shrinks as exp(-ct). Two: the logistic equation (Saxe et al. 2014, eq. 7)."""
    aim, left = 0.5, modes.LEFT**0.5
    sigma = torch.tensor([[aim, 0.0]], dtype=torch.float64)
    one = math.log((1 - aim) / (left * aim)) / modes.SCALED
    assert abs(modes.predicted(sigma, 1) - one) <= modes.FINE
    end = aim * (1 + left)
    two = math.log(end * (1 - aim) / (end - aim)) / aim / modes.SCALED
    assert abs(modes.predicted(sigma, 2) - two) <= modes.FINE


def test_decoupled_modes_begin_at_one_and_learn_as_predicted():
    sigma = torch.diag(torch.tensor([0.9, 0.6], dtype=torch.float64))
    sigma = torch.nn.functional.pad(sigma, (0, 3))
    weights = modes.decoupled(sigma, 4)
    product = torch.linalg.multi_dot(weights[::-1])
    assert torch.allclose(product, torch.eye(2, 5, dtype=torch.float64), atol=1e-12)
    for weight in weights[:-1]:
        assert torch.allclose(weight @ weight.T, torch.eye(5, dtype=torch.float64), atol=1e-12)
    assert abs(modes.measured(sigma, 4) / modes.predicted(sigma, 4) - 1) < 0.03
