"""Fresh weights from a learned posterior: which values, from which sources, and every refusal."""

import math

import pytest
import safetensors.torch
import torch
from torch import nn

import isoinit
from isoinit import FromPosterior
from isoinit.errors import ArgumentError
from isoinit.variational import convert, posterior


def net(width=32):
    return nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 4))


@pytest.fixture
def trained():
    model = convert(net(), scale=0.5, seed=3)
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.bias.normal_()
    return model


@pytest.fixture(params=["model", "pt", "safetensors", "compiled pt"])
def source(request, trained, tmp_path):
    if request.param == "model":
        return trained
    path = tmp_path / f"posterior.{request.param.split()[-1]}"
    saved = torch.compile(trained) if "compiled" in request.param else trained
    if path.suffix == ".pt":
        torch.save(saved.state_dict(), path)
    else:
        safetensors.torch.save_file(saved.state_dict(), path)
    return path


def fresh(source, seed=0, model=None):
    model = net() if model is None else model
    plan = isoinit.plan(model, overrides={"*": FromPosterior(source)})
    return plan.apply(model, seed)


def test_weights_are_draws_and_biases_the_learned_values(source, trained):
    """512 weights: mean within 5 standard errors, spread within 16 % (5 of them)."""
    model = fresh(source, seed=1)
    for name, q in posterior(trained).items():
        z = (model.get_parameter(name) - q.mean) / q.stddev
        assert abs(z.mean()) < 5 / math.sqrt(z.numel())
        assert z.std().item() == pytest.approx(1, abs=5 / math.sqrt(2 * z.numel()))
    assert torch.equal(model[2].bias, trained[2].bias)


def test_the_source_is_of_no_account(source, trained):
    for p, q in zip(fresh(source, 4).parameters(), fresh(trained, 4).parameters(), strict=True):
        assert torch.equal(p, q)


def test_seeds_make_the_members_of_an_ensemble(trained):
    one, again, other = (fresh(trained, seed) for seed in (1, 1, 2))
    assert torch.equal(one[0].weight, again[0].weight)
    assert not torch.equal(one[0].weight, other[0].weight)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types_get_the_rounded_values(trained, dtype):
    rounded, single = fresh(trained, 1, net().to(dtype)), fresh(trained, 1)
    error = {torch.float64: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
    torch.testing.assert_close(rounded[0].weight.float(), single[0].weight, rtol=error, atol=1e-6)


def test_a_part_of_a_model_can_start_so(trained):
    model = net()
    plan = isoinit.plan(model, torch.zeros(1, 16), overrides={"0.*": FromPosterior(trained)})
    assert (
        plan["2.weight"].initializer
        == isoinit.plan(model, torch.zeros(1, 16))["2.weight"].initializer
    )
    assert str(plan["0.weight"].initializer) == "FromPosterior(a model)"
    q = posterior(trained)["0.weight"]
    expected = (q.mean.var(correction=0) + q.variance.mean()).sqrt().item()
    assert plan["0.weight"].std == pytest.approx(expected)


def test_slices_are_those_of_the_whole(trained):
    import numpy as np

    from isoinit._drawing.streams import Stream

    initializer = FromPosterior(trained).for_parameter("0.weight")
    layout = isoinit.plan(net())["0.weight"].layout
    whole, part = np.empty(512, np.float32), np.empty(100, np.float32)
    stream = Stream(0, "0.weight")
    initializer.fill(whole, stream, layout)
    initializer.fill(part, stream, layout, 57)
    assert (whole[57:157] == part).all()


def test_a_plan_with_a_path_can_be_saved(trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / "posterior.pt")
    model = net()
    plan = isoinit.plan(model, overrides={"*": FromPosterior(tmp_path / "posterior.pt")})
    plan.save(tmp_path / "plan.json")
    loaded = isoinit.Plan.load(tmp_path / "plan.json")
    assert not loaded.diff(plan)
    expected = plan.apply(net(), 1)
    assert torch.equal(loaded.apply(model, 1)[0].weight, expected[0].weight)
    held = isoinit.plan(model, overrides={"*": FromPosterior(trained)})
    with pytest.raises(ArgumentError, match="Save the model's state_dict"):
        held.to_json()


def test_tied_parameters_are_found_by_any_name():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens):
            return self.head(self.embed(tokens))

    trained, model = convert(Tied(), seed=0), Tied()
    fresh(trained, model=model)
    assert model.head.weight is model.embed.weight


def test_another_architecture_is_named_and_nothing_changes(trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / "posterior.pt")
    wide, deep = net(48), nn.Sequential(*net(), nn.ReLU(), nn.Linear(4, 4))
    for model, words in (
        (wide, r"'0\.weight' has shape \(32, 16\) there and \(48, 16\) in the model"),
        (deep, r"'4\.weight' among 4"),
    ):
        plan = isoinit.plan(model)
        before = plan.to_json()
        with pytest.raises(ArgumentError, match=words):
            plan.override({"*": FromPosterior(tmp_path / "posterior.pt")})
        assert plan.to_json() == before


def test_sources_that_are_none_are_refused(tmp_path):
    torch.save(net().state_dict(), tmp_path / "plain.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("no posterior")
    for source, words in (
        (net(), "convert"),
        (tmp_path / "plain.pt", "holds no distribution"),
        (tmp_path / "list.pt", "holds a list"),
        (tmp_path / "text.pt", "is not a saved state_dict"),
        (tmp_path / "missing.pt", "cannot be read: No such file"),
        (3, "FromPosterior\\(source=int\\)"),
    ):
        with pytest.raises(ArgumentError, match=words):
            FromPosterior(source)
    with pytest.raises(ArgumentError, match="Use it in a plan"):
        FromPosterior(convert(net(), seed=0)).std_for(isoinit.plan(net())["0.weight"].layout)
