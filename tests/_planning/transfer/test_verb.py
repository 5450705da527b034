"""The verb: what it takes, what it refuses, what it says."""

import pytest
import torch
from torch import nn

import isoinit
from isoinit.errors import ArgumentError, PlanError, TraceError

X = torch.zeros(3, 8)


def build(width):
    layers = [nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 3))


def test_a_function_or_two_models_give_the_same():
    by_size = isoinit.transfer(build, base=16, target=64, batch=X)
    by_model = isoinit.transfer(build(16), build(64), X)
    assert by_size.factors == by_model.factors
    assert by_size.plan.transfer.base == "Sequential of size 16"
    assert list(by_size.plan) == list(by_model.plan)


def test_one_model_alone_follows_its_own_widths():
    t = isoinit.transfer(build(64), batch=X, unit=16)
    pair = isoinit.transfer(build(16), build(64), X)
    for name, factors in pair.factors.items():
        alone = t.factors[name]
        assert (alone.kind, alone.lr, alone.eps) == (factors.kind, factors.lr, factors.eps)
    assert "there is no base to compare with" in t.notes[0]
    plain = isoinit.plan(build(64), X)  # which has the root of the fan-in already
    assert t.plan["2.weight"].std == pytest.approx(plain["2.weight"].std)
    assert t.plan["4.weight"].std == pytest.approx(plain["4.weight"].std / 2)
    assert t.plan["4.weight"].std == pytest.approx(pair.plan["4.weight"].std)


def test_the_models_are_left_as_they_were():
    small, large = build(16), build(64)
    before = [p.detach().clone() for m in (small, large) for p in m.parameters()]
    isoinit.transfer(small, large, X)
    after = [p for m in (small, large) for p in m.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_models_on_meta_will_do():
    with torch.device("meta"):
        small, large = build(16), build(64)
    assert isoinit.transfer(small, large, X).factors["2.weight"].lr == 0.25


def test_a_saved_plan_carries_it(tmp_path):
    t = isoinit.transfer(build, base=16, target=64, batch=X, decay="sqrt", depth=None)
    t.plan.save(tmp_path / "plan.json")
    again = isoinit.Transfer(isoinit.Plan.load(tmp_path / "plan.json"))
    assert again.factors == t.factors
    assert again.plan == t.plan
    assert again.plan.transfer.decay == "sqrt"


def test_a_plan_without_one_is_none():
    with pytest.raises(PlanError, match="the plan has no factors"):
        isoinit.Transfer(isoinit.plan(build(16), X))


def test_the_table_tells_factors_reasons_and_sources(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    t = isoinit.transfer(build, base=16, target=64, batch=X)
    text = str(t)
    assert "transfer from Sequential of size 16, adamw, decay 'mup', completep" in text
    assert "2.weight hidden weight 0.500 0.250 4.00 0.250 1.00" in " ".join(text.split())
    assert "sums 4 times as many terms and makes 4 times as many" in text
    assert "Tensor Programs V" in text
    assert max(map(len, str(t).splitlines())) <= 80
    assert len(t.show(verbose=True).splitlines()) > len(text.splitlines()) - 5


def test_frozen_and_kept_parameters_have_factors_of_one():
    small, large = build(16), build(64)
    for model in (small, large):
        model[2].requires_grad_(False)
    t = isoinit.transfer(small, large, X)
    frozen = t.factors["2.weight"]
    assert (frozen.kind, frozen.std, frozen.lr, frozen.gauge) == ("frozen", 1, 1, 1)
    assert "2 parameters that the plan keeps have factors of one" in t.notes[0]
    assert "'2.weight'" in t.notes[0]
    held = [p for group in t.groups(large, lr=1e-3) for p in group["params"]]
    assert len(held) == 4


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"base": 64, "target": 16}, ArgumentError, "base=64 is larger than target=16"),
        ({"base": 16}, ArgumentError, "target=None: expected an integer"),
        ({"base": 16, "target": 64.0}, ArgumentError, "target=64.0: expected an integer"),
        ({"base": True, "target": 64}, ArgumentError, "base=True"),
        ({"base": 16, "target": 64, "unit": 16}, ArgumentError, "unit= is for a single model"),
        (
            {"base": 16, "target": 64, "batch": torch.zeros(3, 9)},
            TraceError,
            "the base model fails",
        ),
    ],
)
def test_bad_sizes_are_refused(given, error, said):
    with pytest.raises(error, match=said):
        isoinit.transfer(build, **{"batch": X, **given})


def test_two_models_that_do_not_go_together_are_refused():
    with pytest.raises(
        PlanError, match=r"'0\.weight' of the base has shape \(64, 8\), which is larger than"
    ):
        isoinit.transfer(build(64), build(16), X)
    with pytest.raises(ArgumentError, match="target=None: expected a second, larger model"):
        isoinit.transfer(build(64), batch=X)
    with pytest.raises(ArgumentError, match="base=16 needs a function"):
        isoinit.transfer(build(16), build(64), X, base=16)
    with pytest.raises(ArgumentError, match=r"unit=0: expected a width above 0"):
        isoinit.transfer(build(16), batch=X, unit=0)


def test_a_batch_that_the_target_refuses_is_told():
    class Fixed(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.layer, self.width = nn.Linear(8, width), width

        def forward(self, x):
            assert self.width < 64, "too wide"
            return self.layer(x)

    with pytest.raises(TraceError, match=r"the target model fails on the batch: .*too wide"):
        isoinit.transfer(Fixed, base=16, target=64, batch=X)


def test_a_width_that_the_heads_do_not_divide_is_told():
    def attention(width):
        return nn.MultiheadAttention(width, 4)

    with pytest.raises(ArgumentError, match=r"build\(18\) failed: .*divisible"):
        isoinit.transfer(attention, base=16, target=18, batch=X)
    with pytest.raises(ArgumentError, match=r"build\(16\) returned a int"):
        isoinit.transfer(int, base=16, target=18, batch=X)
    with pytest.raises(ArgumentError, match=r"model is a int; expected a torch\.nn\.Module"):
        isoinit.transfer(3, base=16, target=18, batch=X)


def test_computed_weights_are_told():
    def normed(width):
        layer = nn.utils.parametrizations.weight_norm(nn.Linear(width, width))
        return nn.Sequential(nn.Linear(8, width), nn.ReLU(), layer, nn.ReLU(), nn.Linear(width, 3))

    t = isoinit.transfer(normed, base=16, target=64, batch=X)
    assert "weights are computed of '2.parametrizations.weight.original0'" in t.notes[0]
    assert t.plan.apply(normed(64), seed=0)[2].weight.std() > 0


def test_the_plan_explains_factors_and_is_not_calibrated():
    t = isoinit.transfer(build, base=16, target=64, batch=X)
    text = " ".join(t.plan.explain("2.weight").split())
    assert "transfer hidden weight: std ×0.5, lr ×0.25, decay ×4, ε ×0.25 (adamw)" in text
    with pytest.raises(PlanError, match="Use the plan without calibration"):
        t.plan.calibrate(build(64), torch.randn(9, 8))
