"""Complex weights are planned, filled, propagated and checked."""

import tempfile
from dataclasses import replace

import pytest
import torch
from torch import nn

import isoinit
from isoinit._reading.torch.numbers import in_reals
from isoinit.errors import ArgumentError, PlanError

COMPLEX = torch.complex64


def noise(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def rms(tensor):
    return tensor.detach().abs().double().square().mean().sqrt().item()


class Split(nn.Module):
    """Three complex layers with ReLU on both parts between them (Trabelsi et al. 2018, eq. 8)."""

    def __init__(self):
        super().__init__()
        sizes = [(64, 256), (256, 256), (256, 8)]
        self.layers = nn.ModuleList(nn.Linear(*size, dtype=COMPLEX) for size in sizes)

    def forward(self, x):
        self.seen = []
        for layer in self.layers:
            x = layer(x)
            self.seen.append(x)
            x = torch.complex(x.real.relu(), x.imag.relu())
        return self.seen[-1].abs()


class Fourier(nn.Module):
    """One layer of a Fourier neural operator (Li et al. 2021)."""

    def __init__(self, width=16, modes=8):
        super().__init__()
        self.up, self.down = nn.Linear(1, width), nn.Linear(width, 1)
        self.w = nn.Parameter(torch.randn(modes, width, width, dtype=COMPLEX) / width**0.5)

    def forward(self, x):
        h = torch.fft.rfft(self.up(x), dim=1)
        h = torch.einsum("bki,kio->bko", h[:, : len(self.w)], self.w)
        return self.down(torch.fft.irfft(h, n=x.shape[1], dim=1).relu())


class Weighted(nn.Module):
    """A weight that `make` makes of parameters, in front of a layer of real numbers."""

    def __init__(self, make, *parameters):
        super().__init__()
        self.parts = nn.ParameterList(parameters)
        self.make, self.head = make, nn.Linear(64, 4)

    def forward(self, x):
        self.seen = x.to(COMPLEX) @ self.make(*self.parts)
        return self.head(self.seen.abs())


def test_a_complex_network_keeps_its_signal():
    model, x = Split(), noise(256, 64, dtype=COMPLEX)
    plan = isoinit.init(model, x)
    model(x)
    for index, seen in enumerate(model.seen[:2]):  # the last has 8 units, which scatter
        entry = plan[f"layers.{index}.weight"]
        assert rms(model.layers[index].weight) == pytest.approx(entry.std, rel=0.02)
        assert rms(seen) == pytest.approx(entry.expected, rel=0.05)
        assert entry.expected == pytest.approx(1, abs=0.05)
    # LeCun for the input, He behind a function that halves E|z|².
    assert plan["layers.0.weight"].std == pytest.approx(64**-0.5)
    assert plan["layers.1.weight"].std == pytest.approx((2 / 256) ** 0.5, rel=0.03)
    assert plan["layers.1.bias"].initializer == isoinit.Zeros()
    assert isoinit.check(model, x, plan=plan, lr=1e-3).ok


def test_a_layer_in_fourier_space_is_planned_applied_and_checked():
    model, x = Fourier(), noise(8, 32, 1)
    plan = isoinit.init(model, x)
    assert plan["w"].dtype == "complex64"
    assert rms(model.w) == pytest.approx(plan["w"].std, rel=0.05)
    # torch.fft.rfft multiplies the second moment by the length: 32 (Parseval).
    assert plan["w"].std == pytest.approx((16 * 32) ** -0.5, rel=0.2)
    assert not plan.warnings
    health = isoinit.check(model, x, plan=plan)
    assert health.ok
    layer = next(layer for layer in health.layers if layer.name == "w")
    assert (layer.units, layer.elements) == (16, 8 * 8 * 16)
    weight = next(weight for weight in health.weights if weight.name == "w")
    assert weight.rms == pytest.approx(rms(model.w))
    assert weight.gradient > 0


MADE = {  # how a weight is made, and its real or complex parameters
    "two real": (torch.complex, torch.randn(64, 64), torch.randn(64, 64)),
    "viewed": (torch.view_as_complex, torch.randn(64, 64, 2)),
    "conjugated": (lambda w: w.conj() * 0.3, torch.randn(64, 64, dtype=COMPLEX)),
    "polar": (lambda r, w: r * torch.exp(1j * w), torch.randn(64, 64), torch.randn(64, 64)),
}


@pytest.mark.parametrize("name", MADE)
def test_a_complex_weight_that_is_made_of_parameters(name):
    make, *values = MADE[name]
    model, x = Weighted(make, *map(nn.Parameter, values)), noise(256, 64)
    plan = isoinit.init(model, x)
    if any(entry.initializer is None for entry in plan):  # whose size is the model's own choice
        assert plan.warnings
        return
    model(x)
    assert rms(model.seen) == pytest.approx(1, abs=0.05)


def test_what_draws_no_complex_numbers_gives_way_and_says_so():
    model, x = Split(), noise(256, 64, dtype=COMPLEX)
    plan = isoinit.plan(model, x, method="orthogonal")
    entry = plan["layers.1.weight"]
    assert isinstance(entry.initializer, isoinit.Normal)
    assert "Orthogonal" in entry.reason
    assert "draws no complex numbers" in entry.reason
    real = isoinit.plan(nn.Linear(64, 256), noise(256, 64), method="orthogonal")["weight"]
    assert plan["layers.0.weight"].std == pytest.approx(real.std)
    with pytest.raises(ArgumentError, match=r"'layers\.1\.weight': .* cannot fill a complex"):
        plan["layers.1.weight"] = isoinit.Orthogonal()
    plan.entries["layers.1.weight"] = replace(entry, initializer=isoinit.Orthogonal())
    before = model.layers[0].weight.detach().clone()
    with pytest.raises(PlanError, match=r"'layers\.1\.weight': .* cannot fill a complex tensor"):
        plan.apply(model)
    assert torch.equal(model.layers[0].weight, before)


@pytest.mark.parametrize(
    ("fill", "initializer"),
    [
        (lambda w: nn.init.normal_(w, std=0.1), isoinit.Normal(std=0.1)),
        # torch draws each part from all of it.
        (lambda w: nn.init.uniform_(w, -0.1, 0.1), isoinit.Uniform(-(0.02**0.5), 0.02**0.5)),
        (nn.init.ones_, isoinit.Ones()),
        (lambda w: w.copy_(torch.full_like(w, 1j)), None),
    ],
    ids=["normal", "uniform", "ones", "i"],
)
def test_the_models_own_recipe(fill, initializer):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(64, 64, dtype=COMPLEX))

        def reset_parameters(self):
            with torch.no_grad():
                fill(self.w)

        def forward(self, x):
            return x.to(COMPLEX) @ self.w

    entry = isoinit.plan(Own(), noise(2, 64), recipe="own")["w"]
    assert type(entry.initializer) is type(initializer)
    if initializer is not None:
        assert entry.std == pytest.approx(initializer.std_for(entry.layout), rel=0.02)


def test_a_plan_is_saved_and_its_bits_are_known():
    model, x = Fourier(), noise(8, 32, 1)
    plan = isoinit.init(model, x, seed=5)
    assert isoinit.Plan.from_json(plan.to_json()) == plan
    assert isoinit.fingerprint(model) == plan.fingerprint(seed=5)
    assert isoinit.fingerprint(model).differences(plan.fingerprint(seed=6)) == [
        "w", "up.weight", "down.weight"
    ]  # fmt: skip
    folder = tempfile.mkdtemp()
    isoinit.write_checkpoint(plan, model, folder, seed=5)
    found = isoinit.verify_checkpoint(folder)
    assert found.ok
    assert found.fingerprint == str(isoinit.fingerprint(model))


def test_it_is_calibrated():
    model, x = Split(), noise(256, 64, dtype=COMPLEX)
    plan = isoinit.plan(model, x)
    plan["layers.1.weight"] = isoinit.Normal(std=1.0)
    calibrated = plan.calibrate(model, x)
    calibrated.apply(model, seed=0)
    model(x)
    assert rms(model.seen[1]) == pytest.approx(1, abs=0.01)


def test_complex_numbers_are_measured_by_their_size():
    # Of z the parts times sqrt(2): |3 + 4i| = 5, and <z, z'> = Re(z conj(z')).
    z, other = torch.tensor([3 + 4j, 1j]), torch.tensor([1 - 2j, 2.0])
    assert in_reals(z).square().mean() == pytest.approx((25 + 1) / 2)
    product = (z * other.conj()).real.mean()
    assert (in_reals(z) * in_reals(other)).mean() == pytest.approx(product.item())


def test_nan_in_a_complex_layer_is_found():
    model, x = Split(), noise(256, 64, dtype=COMPLEX)
    isoinit.init(model, x)
    with torch.no_grad():
        model.layers[1].weight[0, 0] = complex(0, float("nan"))
    names = {finding.name for finding in isoinit.check(model, x).findings}
    assert "not finite" in names


@pytest.mark.parametrize("name", ["orthogonal", "spectral_norm"])
def test_parametrizations_of_complex_weights(name):
    layer = getattr(nn.utils.parametrizations, name)(nn.Linear(16, 16, dtype=COMPLEX))
    x = noise(64, 16, dtype=COMPLEX)
    plan = isoinit.init(layer, x)
    assert torch.isfinite(layer(x)).all()
    assert isoinit.check(layer, x, plan=plan).loss is None


def test_small_complex_weights_are_drawn_one_by_one_and_nothing_is_cast(recwarn):
    plan = isoinit.plan(Split(), noise(8, 64, dtype=COMPLEX))
    assert not recwarn.list
    assert plan["layers.0.weight"].initializer == isoinit.LeCunNormal()
    assert "orthogonal" not in plan["layers.0.weight"].reason.lower()
