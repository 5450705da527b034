"""A parameter that no initializer can fill stops nothing: it is left, and named."""

import tempfile

import numpy as np
import pytest
import torch
from torch import nn

import isoinit
from isoinit._reading.torch.kept import DRAWN, why_not_drawn
from isoinit._reading.torch.numbers import in_reals
from isoinit._writing.fill import ARRAYS
from isoinit.errors import ArgumentError, PlanError

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))


def stored(kind):
    """A weight of 16 × 8 whose numbers are -2 to 2, as this kind of tensor."""
    values = torch.arange(128).remainder(5).reshape(16, 8) - 2.0
    if kind == "qint8":
        return torch.quantize_per_tensor(values, 1.0, 0, torch.qint8)
    if kind in ("coo", "csr"):
        return values.to_sparse() if kind == "coo" else values.to_sparse_csr()
    dtype = getattr(torch, kind)
    return values.to(dtype) if dtype.is_signed else values.abs().to(dtype)


def numbers(weight):
    """The numbers of such a weight, as a model would unpack them."""
    if weight.is_quantized:
        return weight.dequantize()
    return weight.float() if weight.layout is torch.strided else weight.to_dense()


class Packed(nn.Module):
    """A first layer whose weight is stored in some kind, and a second one that is trained."""

    def __init__(self, kind):
        super().__init__()
        self.weight = nn.Parameter(stored(kind), requires_grad=False)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(torch.relu(nn.functional.linear(x, numbers(self.weight))))


DENSE = ["int8", "uint8", "int64", "uint16", "bool", "float8_e4m3fn", "float8_e5m2"]
KINDS = [*DENSE, "qint8", "coo", "csr"]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_it_is_left_and_named_and_the_rest_is_planned(kind):
    model = Packed(kind)
    before, second = numbers(model.weight).clone(), numbers(model.weight).square().mean().item()
    plan = isoinit.plan(model, X)
    entry = plan["weight"]
    assert (entry.initializer, entry.rule, entry.source) == (None, "", "")
    assert entry.reason == f"kept: {why_not_drawn(model.weight)}"
    assert plan.kept == {entry.name: entry.reason}
    # The head sees relu of 8 products, half of whose second moment is left.
    assert plan["head.weight"].std == pytest.approx((16 * 8 * second / 2) ** -0.5, rel=0.3)
    plan.apply(model, seed=0)
    assert torch.equal(numbers(model.weight), before)
    assert model.head.weight.std().item() == pytest.approx(plan["head.weight"].std, rel=0.5)
    assert isoinit.Plan.from_json(plan.to_json()) == plan


def test_every_verb_lives_with_it(kind):
    model = Packed(kind)
    plan = isoinit.init(model, X)
    health = isoinit.check(model, X, plan=plan, lr=1e-3)
    assert health.ok, health
    weight = next(w for w in health.weights if w.name == "weight")
    assert weight.rms == pytest.approx(numbers(model.weight).double().square().mean().item() ** 0.5)
    assert (weight.twins, weight.identical, weight.gradient) == (0.0, False, None)
    assert "head" in {layer.name for layer in isoinit.read(model, X).layers}
    assert plan.calibrate(model, X)["weight"].initializer is None
    assert isoinit.plan(model, X, method="orthogonal")["weight"].initializer is None
    assert isoinit.plan(model, X, recipe="own")["weight"].initializer is None


def test_a_fingerprint_tells_its_values_apart(kind):
    model, other = Packed(kind), Packed(kind)
    other.load_state_dict(model.state_dict())
    assert isoinit.fingerprint(model) == isoinit.fingerprint(other)
    changed = Packed(kind)
    changed.head.load_state_dict(model.head.state_dict())
    dense = stored("bool" if kind == "bool" else "int8")
    dense[0, 0] = not dense[0, 0]
    if kind in DENSE:
        changed.weight.data = dense.to(changed.weight.dtype)
        assert isoinit.fingerprint(model).differences(isoinit.fingerprint(changed)) == ["weight"]


@pytest.mark.parametrize("kind", DENSE)
def test_a_checkpoint_holds_it(kind):
    from safetensors.torch import load_file

    model = Packed(kind)
    plan = isoinit.plan(model, X)
    folder = tempfile.mkdtemp()
    isoinit.write_checkpoint(plan, model, folder, seed=0)
    assert isoinit.verify_checkpoint(folder).ok
    found = load_file(f"{folder}/model.safetensors")["weight"]
    assert found.dtype == model.weight.dtype
    assert torch.equal(found.float(), model.weight.float())


@pytest.mark.parametrize(("kind", "form"), [("coo", "safetensors"), ("float8_e5m2", "dcp")])
def test_what_a_checkpoint_cannot_hold_is_said(kind, form, tmp_path):
    model = Packed(kind)
    with pytest.raises(PlanError, match="nothing was written"):
        isoinit.write_checkpoint(isoinit.plan(model, X), model, tmp_path, format=form)
    assert not list(tmp_path.iterdir())


def test_it_is_built_under_deferred():
    with isoinit.deferred():
        model = Packed("int8")
    isoinit.init(model, X)
    assert torch.equal(model.weight, stored("int8"))


def test_a_quantized_model_is_not_audited():
    with pytest.raises(ArgumentError, match="'weight' is quantized"):
        isoinit.audit(lambda: Packed("qint8"))


def test_by_hand_it_is_refused_before_a_write(kind):
    model = Packed(kind)
    plan = isoinit.plan(model, X)
    plan["weight"] = isoinit.Normal()
    before = model.head.weight.detach().clone()
    with pytest.raises(PlanError, match="nothing was changed: parameter 'weight'"):
        plan.apply(model)
    assert torch.equal(model.head.weight, before)


def test_what_can_be_drawn_is_what_has_an_array():
    assert ARRAYS.keys() == DRAWN


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_measured_as_they_are(kind):
    values = in_reals(stored(kind))
    assert values.is_floating_point()
    assert np.array_equal(values.double(), numbers(stored(kind)).double())
