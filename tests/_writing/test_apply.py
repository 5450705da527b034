"""Plans on what is not a whole model: stages, checkpoints that lack something, untied parameters."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import isoinit
from isoinit.errors import ArgumentError, IsoinitWarning, PlanError, UnknownParameterError

X = torch.ones(2, 6)


def network(depth=3, width=6):
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(depth)], nn.Linear(width, 2))


@pytest.fixture
def plan():
    return isoinit.plan(network(), X)


class TestOnlyMissing:
    """Old weights in a larger model."""

    def test_what_the_checkpoint_lacks_is_filled(self, plan):
        old = {f"0.{k}": v for k, v in nn.Linear(6, 6).state_dict().items()}
        for load_first in (True, False):
            model = network()
            for parameter in model.parameters():
                nn.init.constant_(parameter, torch.nan)
            if load_first:
                model.load_state_dict(old, strict=False)
            plan.apply(model, 5, only_missing=old)
            if not load_first:
                assert model[0].weight.isnan().all()
                model.load_state_dict(old, strict=False)
            whole = plan.apply(network(), 5).state_dict() | old
            for name, tensor in model.state_dict().items():
                assert torch.equal(tensor, whole[name]), name

    def test_on_meta_what_will_be_loaded_stays_there(self, plan):
        old = {f"0.{k}": v for k, v in nn.Linear(6, 6).state_dict().items()}
        with torch.device("meta"):
            model = network()
        plan.apply(model, only_missing=old, seed=0)
        assert [n for n, p in model.named_parameters() if p.is_meta] == ["0.weight", "0.bias"]
        model.load_state_dict(old, strict=False, assign=True)
        assert not any(p.is_meta for p in model.parameters())

    def test_names_of_wrapped_models(self, plan):
        old = {f"module._orig_mod.0.{k}": v for k, v in nn.Linear(6, 6).state_dict().items()}
        model = network()
        before = model[0].weight.clone()
        plan.apply(model, only_missing=old, seed=0)
        assert torch.equal(model[0].weight, before)

    def test_a_tied_parameter_is_there_by_any_name(self):
        class Tied(nn.Module):
            def __init__(self):
                super().__init__()
                self.table, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
                self.head.weight = self.table.weight

            def forward(self, x):
                return self.head(self.table(x))

        model = Tied()
        plan = isoinit.plan(model, torch.zeros(1, dtype=torch.long))
        before = model.table.weight.clone()
        plan.apply(model, only_missing={"head.weight": before}, seed=0)
        assert torch.equal(model.table.weight, before)

    def test_an_empty_checkpoint_lacks_everything(self, plan):
        assert torch.equal(
            plan.apply(network(), only_missing={}, seed=0)[0].weight,
            plan.apply(network(), seed=0)[0].weight,
        )

    @pytest.mark.parametrize(
        ("state", "match"),
        [
            (
                {"0.weight": torch.zeros(6, 5)},
                r"'0\.weight' of shape \(6, 5\), but the model has shape \(6, 6\)",
            ),
            ({"model.0.weight": torch.zeros(6, 6)}, r"none of the 1 names .*'model\.0\.weight'"),
            (3, "is a int; expected a state dict, the names in it"),
            ([nn.Linear(2, 2)], "holds a Linear, which is not a name"),
            ("missing.safetensors", "only_missing: missing.safetensors: .*No such file"),
        ],
        ids=["shape", "names", "kind", "no names", "no file"],
    )
    def test_what_does_not_fit_is_refused(self, plan, state, match):
        model = network()
        before = model[0].weight.clone()
        with pytest.raises(PlanError, match=match):
            plan.apply(model, only_missing=state, seed=0)
        assert torch.equal(model[0].weight, before)

    @pytest.mark.parametrize("kind", ["names", "pt", "safetensors", "index", "folder", "bin"])
    def test_what_a_checkpoint_may_be(self, plan, kind, tmp_path):
        state = {f"0.{k}": v for k, v in nn.Linear(6, 6).state_dict().items()}
        file = tmp_path / ("pytorch_model.bin" if kind == "bin" else "model.safetensors")
        if kind in ("pt", "bin"):
            torch.save(state, file := file.with_suffix(f".{kind}"))
        elif kind == "index":
            save_file({"0.weight": state["0.weight"]}, tmp_path / "a.safetensors")
            save_file({"0.bias": state["0.bias"]}, tmp_path / "b.safetensors")
            files = {"0.weight": "a.safetensors", "0.bias": "b.safetensors"}
            file = tmp_path / "model.safetensors.index.json"
            file.write_text(json.dumps({"weight_map": files}))
        else:
            save_file(state, file)
        given = {"names": iter(state), "folder": tmp_path, "bin": tmp_path}.get(kind, str(file))
        model, whole = network(), plan.apply(network(), 3).state_dict()
        before = copy.deepcopy(model.state_dict())
        plan.apply(model, 3, only_missing=given)
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, (before if name in state else whole)[name]), name

    @pytest.mark.parametrize(
        ("write", "match"),
        [
            (
                lambda f: torch.save({"state_dict": {}}, f / "x.pt"),
                "it holds 'state",
            ),
            (lambda f: (f / "x.pt").write_bytes(b"abc"), "failed"),
            (
                lambda f: (f / "model.safetensors").write_bytes(b"abc"),
                "expected 8 bytes and a header",
            ),
            (lambda f: None, "holds no .safetensors file, no .bin file"),
            (lambda f: [save_file({}, f / f"{n}.safetensors") for n in "ab"], "but no index"),
            (
                lambda f: (f / "model.safetensors.index.json").write_text(
                    '{"weight_map": {"0.weight": "gone.safetensors"}}'
                ),
                r"No such file.*gone\.safetensors",
            ),
        ],
        ids=["nested", "no zip", "cut off", "empty", "two", "a part lacks"],
    )
    def test_files_that_cannot_be_read_are_named(self, plan, write, match, tmp_path):
        write(tmp_path)
        place = tmp_path / "x.pt" if (tmp_path / "x.pt").exists() else tmp_path
        with pytest.raises(PlanError, match=match) as error:
            plan.apply(network(), only_missing=place)
        assert str(place) in str(error.value)


class TestOnly:
    """Some of a model, by what they are called or where they lie."""

    @pytest.mark.parametrize(
        ("only", "filled"),
        [
            ("3.weight", ["3.weight"]),
            (["3.*", "0.bias"], ["0.bias", "3.weight", "3.bias"]),
            ("role:*output*", ["3.weight"]),
            (lambda model: model[3], ["3.weight", "3.bias"]),
            (lambda model: [model[3], "0.bias"], ["0.bias", "3.weight", "3.bias"]),
        ],
        ids=["name", "globs", "role", "module", "both"],
    )
    def test_only_these_are_filled(self, plan, only, filled):
        model, whole = network(), plan.apply(network(), 3).state_dict()
        before = copy.deepcopy(model.state_dict())
        plan.apply(model, 3, only=only(model) if callable(only) else only)
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, (whole if name in filled else before)[name]), name

    def test_a_tied_parameter_goes_by_any_name(self):
        model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
        model.b.weight = model.a.weight
        plan = isoinit.plan(nn.Sequential(*model.values()), torch.ones(2, 4))
        tied = nn.Sequential(*model.values())
        for only in ("1.weight", tied[1]):
            with torch.no_grad():
                tied[0].weight.zero_()
            assert plan.apply(tied, only=only)[0].weight.any()

    @pytest.mark.parametrize(
        ("only", "error", "match"),
        [
            ("hed.*", UnknownParameterError, "no parameter matches 'hed"),
            ([], ArgumentError, "a non-empty list"),
            (3, ArgumentError, "expected a name, a glob"),
            (nn.Linear(2, 2), ArgumentError, "is not a module of the Sequential"),
        ],
        ids=["pattern", "nothing", "kind", "another's module"],
    )
    def test_what_is_not_there_is_refused_before_anything_is_written(
        self, plan, only, error, match
    ):
        model = network()
        before = copy.deepcopy(model.state_dict())
        for run in (plan.apply, lambda model, only: isoinit.init(model, X, only=only)):
            with pytest.raises(error, match=match):
                run(model, only=["0.weight", only] if only == "hed.*" else only)
        assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())

    def test_on_meta_the_others_stay_there(self, plan):
        with torch.device("meta"):
            model = network()
        plan.apply(model, only="3.*")
        assert not model[3].weight.is_meta
        assert model[0].weight.is_meta


def test_some_of_the_plans_parameters(plan):
    model = network()
    del model[1]  # the others keep their names only if none stands behind
    model = nn.Sequential(network()[0], network()[1])
    whole = plan.apply(network(), 4)
    plan.apply(model, 4)
    assert torch.equal(model[1].weight, whole[1].weight)


def test_what_was_tied_and_is_no_more():
    class Tied(nn.Module):
        def __init__(self, tie):
            super().__init__()
            self.table, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
            if tie:
                self.head.weight = self.table.weight

        def forward(self, x):
            return self.head(self.table(x))

    plan = isoinit.plan(Tied(True), torch.zeros(1, dtype=torch.long))
    model = Tied(False)
    with pytest.warns(IsoinitWarning, match=r"'head\.weight' was tied to 'table\.weight'"):
        plan.apply(model, seed=0)
    assert torch.equal(model.head.weight, model.table.weight)


def test_what_changed_since_an_apply_counts(plan):
    model = plan.apply(network(), seed=0)
    plan["0.weight"] = isoinit.Constant(0.25)
    plan.entries["0.bias"] = replace(plan["0.bias"], initializer=isoinit.Constant(-0.0))
    plan.entries["1.weight"] = plan["1.weight"].called("1.weight")
    model[1].weight = nn.Parameter(torch.full((6, 6), 9.0))
    model[2].weight.data = torch.full((6, 6), 9.0)
    plan.apply(model, seed=1)
    assert (model[0].weight == 0.25).all()
    assert torch.signbit(model[0].bias).all()
    fresh = isoinit.plan(network(), X).apply(network(), seed=1)
    for name in ("1.weight", "2.weight", "3.weight"):
        assert torch.equal(model.get_parameter(name), fresh.get_parameter(name))
    model[1].double()
    with pytest.raises(PlanError, match=r"'1\.weight' is float64, but the plan expects float32"):
        plan.apply(model)


def test_the_digest_is_of_the_values(plan):
    other = isoinit.plan(network(), torch.zeros(5, 6))
    assert plan.digest == other.digest == isoinit.Plan.from_json(plan.to_json()).digest
    other["0.weight"] = isoinit.Normal(std=0.1)
    assert plan.digest != other.digest
