"""A plan is data: read, edited, saved, loaded; validated whole before it writes."""

import copy
import html
import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import isoinit
from isoinit.errors import ArgumentError, PlanError, UnknownParameterError


def network(dtype=torch.float32):
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).to(dtype)


X = torch.zeros(1, 8)


@pytest.fixture
def plan():
    return isoinit.plan(network(), X)


def unchanged(model, action, error, match):
    """The action raises, and the model is byte for byte as before."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(error, match=match):
        action()
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_entries_in_the_order_of_the_model(plan):
    assert [entry.name for entry in plan] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert len(plan) == 4
    assert "0.weight" in plan
    assert "1.weight" not in plan


def test_override(plan):
    plan["2.weight"] = isoinit.Orthogonal(gain=2.0)
    entry = plan["2.weight"]
    assert entry.std == pytest.approx(2 / 4)
    assert entry.reason == "set by hand"
    model = plan.apply(network(), seed=0)
    w = model[2].weight.detach()
    torch.testing.assert_close(w @ w.T, 4 * torch.eye(4))


def test_an_override_of_one_layer_changes_no_other(plan):
    one = plan.apply(network(), seed=5)
    plan["0.weight"] = isoinit.Zeros()
    two = plan.apply(network(), seed=5)
    assert not torch.equal(one[0].weight, two[0].weight)
    assert torch.equal(one[2].weight, two[2].weight)


def test_a_layer_more_changes_no_other():
    class Named(nn.Module):
        def __init__(self, extra):
            super().__init__()
            if extra:
                self.before = nn.Linear(8, 8)
            self.body = nn.Linear(8, 4)

        def forward(self, x):
            x = self.before(x) if hasattr(self, "before") else x
            return self.body(x)

    one, two = Named(extra=False), Named(extra=True)
    isoinit.init(one, X, seed=3)
    isoinit.init(two, X, seed=3)
    assert torch.equal(one.body.weight, two.body.weight)


@pytest.mark.parametrize("method", ["he", "auto"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_type_starts_from_the_same_weights_up_to_its_rounding(dtype, method):
    single, other = network(), network(dtype)
    isoinit.init(single, X, seed=1, method=method)
    isoinit.init(other, X.to(dtype), seed=1, method=method)
    for p, q in zip(single.parameters(), other.parameters(), strict=True):
        if dtype == torch.float64 and method == "he":
            torch.testing.assert_close(q, p.double(), rtol=3e-7, atol=0)
        elif dtype == torch.float64:  # orthogonal: float32 sums, of rows as long as √2
            torch.testing.assert_close(q, p.double(), rtol=0, atol=1e-6)
        else:
            assert torch.equal(q, p.to(dtype))


def test_tensors_without_a_plain_layout_get_the_same_bits(plan):
    plain, strided = network(), network()
    strided[0].weight = nn.Parameter(torch.empty(8, 16).t())
    assert not strided[0].weight.is_contiguous()
    plan.apply(plain, seed=0)
    plan.apply(strided, seed=0)
    assert torch.equal(plain[0].weight, strided[0].weight)


def test_applying_is_seen_by_autograd(plan):
    model = network()
    loss = (model(torch.randn(2, 8)) ** 2).sum()
    plan.apply(model, seed=0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_no_seed_follows_torch(plan):
    torch.manual_seed(4)
    one = plan.apply(network(), seed=None)
    torch.manual_seed(4)
    network()
    torch.manual_seed(4)
    two, three = network(), network()
    torch.manual_seed(4)
    for model in (one, two):
        torch.manual_seed(9)
        plan.apply(model, seed=None)
    plan.apply(three, seed=None)
    assert torch.equal(one[0].weight, two[0].weight)
    assert not torch.equal(one[0].weight, three[0].weight)


@pytest.mark.parametrize("seed", [0, -1, 2**70])
def test_any_whole_number_is_a_seed(plan, seed):
    assert torch.equal(plan.apply(network(), seed)[0].weight, plan.apply(network(), seed)[0].weight)


def test_json_round_trip(plan, tmp_path):
    plan["0.weight"] = isoinit.Variational(base=isoinit.HeNormal(a=0.1), scale=0.5)
    plan["2.weight"] = isoinit.Sparse(connections=3)
    plan.save(tmp_path / "plan.json")
    loaded = isoinit.Plan.load(tmp_path / "plan.json")
    assert loaded == plan
    assert json.loads(plan.to_json())["parameters"]["2.bias"]["role"] == "bias"
    for p, q in zip(
        plan.apply(network(), seed=0).parameters(),
        loaded.apply(network(), seed=0).parameters(),
        strict=True,
    ):
        assert torch.equal(p, q)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_a_plan_from_before_gradients_were_expected_is_read(plan):
    data = json.loads(plan.to_json())
    for parameter in data["parameters"].values():
        del parameter["expected_gradient"]
    loaded = isoinit.Plan.from_json(json.dumps(data))
    assert loaded.digest == plan.digest
    assert all(entry.expected_gradient is None for entry in loaded)


class TestConstantWeights:
    """Symmetry is named where it is left unbroken, and nowhere else."""

    @pytest.mark.parametrize("constant", [isoinit.Zeros(), isoinit.Ones(), isoinit.Constant(0.1)])
    def test_a_constant_weight_is_warned_of(self, plan, constant):
        assert plan.warnings == []
        plan["0.weight"] = constant
        (warning,) = plan.warnings
        assert "'0.weight'" in warning
        assert "symmetry" in warning
        assert "symmetry" in str(plan)

    def test_but_not_at_the_end_of_a_residual_branch(self):
        class Residual(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

            def forward(self, x):
                return x + self.b(torch.relu(self.a(x)))

        plan = isoinit.plan(Residual(), X)
        plan["b.weight"] = isoinit.Zeros()
        assert plan.warnings == []
        plan["a.weight"] = isoinit.Zeros()
        assert len(plan.warnings) == 1

    def test_nor_at_the_output(self, plan):
        """Each of its units has a target of its own, so that they differ after the first step."""
        plan["2.weight"] = isoinit.Zeros()
        assert plan.warnings == []
        model = plan.apply(network(), seed=0)
        draws = torch.Generator().manual_seed(0)
        batch, targets = (torch.randn(32, n, generator=draws) for n in (8, 4))
        (model(batch) - targets).square().mean().backward()
        rows = model[2].weight.grad
        assert torch.linalg.matrix_rank(rows) == min(rows.shape)


class TestBadInput:
    """Each with its mend in the message, and the model as it was."""

    def test_no_parameters(self):
        with pytest.raises(ArgumentError, match="ReLU has no parameters"):
            isoinit.plan(nn.ReLU(), X)
        with pytest.raises(ArgumentError, match="ReLU has no parameters"):
            isoinit.check(nn.ReLU(), X)

    def test_not_a_module(self):
        with pytest.raises(
            ArgumentError,
            match=r"model is a builtin_function_or_method; expected a torch\.nn\.Module",
        ):
            isoinit.plan(torch.relu, X)

    def test_an_example_that_the_forward_refuses(self):
        model = network()
        unchanged(
            model,
            lambda: isoinit.init(model, torch.zeros(1, 9), seed=0),
            isoinit.IsoinitError,
            r"forward failed on the example.*shapes.*1x9 and 8x16.*Pass a batch",
        )

    @pytest.mark.parametrize("batch", [[1.0], 3, "x"])
    def test_a_batch_of_another_kind(self, batch):
        with pytest.raises(ArgumentError, match=r"batch is a .*expected a tensor.*tuple.*mapping"):
            isoinit.plan(network(), batch)

    def test_an_unknown_method(self):
        with pytest.raises(ArgumentError, match=r"method='kaiming': expected one of auto, zero"):
            isoinit.plan(network(), X, method="kaiming")

    def test_another_shape(self, plan):
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5))
        match = (
            r"nothing was changed: '2\.weight' has shape \(5, 16\), but the plan expects \(4, 16\)"
        )
        unchanged(model, lambda: plan.apply(model, seed=0), PlanError, match)

    def test_another_type(self, plan):
        model = network(torch.float64)
        unchanged(
            model,
            lambda: plan.apply(model, seed=0),
            PlanError,
            "is float64, but the plan expects float32",
        )

    def test_missing_and_extra_parameters(self, plan):
        fewer = nn.Sequential(nn.Linear(8, 16))
        unchanged(
            fewer,
            lambda: plan.calibrate(fewer, torch.ones(2, 8)),
            PlanError,
            r"no parameter '2\.weight'",
        )
        more = nn.Sequential(*network(), nn.Linear(4, 4))
        unchanged(more, lambda: plan.apply(more, seed=0), PlanError, r"no entry for '3\.weight'")

    def test_an_unknown_name_is_answered_with_the_nearest(self, plan):
        with pytest.raises(
            UnknownParameterError, match=r"'2\.wieght' among 4\. Did you mean '2\.weight'"
        ):
            plan["2.wieght"] = isoinit.Zeros()
        with pytest.raises(KeyError):
            plan["nothing like it"]

    def test_an_override_that_is_no_initializer(self, plan):
        with pytest.raises(ArgumentError, match=r"expected an initializer such as isoinit\.Zeros"):
            plan["0.weight"] = 0.0

    @pytest.mark.parametrize(
        ("name", "initializer", "match"),
        [
            ("0.bias", isoinit.HeNormal(), "needs a weight with inputs and outputs"),
            ("0.weight", isoinit.Dirac(), "needs a convolution kernel"),
            ("0.weight", isoinit.DeltaOrthogonal(), "needs the kernel of a convolution"),
            ("2.bias", isoinit.GateBias(gates=3), "divisible by 3"),
        ],
    )
    def test_an_override_that_does_not_fit(self, plan, name, initializer, match):
        before = copy.deepcopy(plan)
        with pytest.raises(ArgumentError, match=match):
            plan[name] = initializer
        assert plan == before

    def test_an_initializer_that_refuses_late_is_found_before_the_first_write(self):
        model = network(torch.bfloat16)
        plan = isoinit.plan(model, X.bfloat16())
        bad = isoinit.Uniform(1.0001, 1.0002)  # no bfloat16 lies between
        with pytest.raises(ArgumentError, match=r"'2\.weight': no bfloat16 value"):
            plan["2.weight"] = bad
        plan.entries["2.weight"] = replace(plan["2.weight"], initializer=bad)
        unchanged(
            model, lambda: plan.apply(model, seed=0), PlanError, r"'2\.weight': no bfloat16 value"
        )

    @pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), "1"])
    @pytest.mark.parametrize(
        ("kind", "option"),
        [
            (isoinit.Normal, "std"),
            (isoinit.TruncatedNormal, "std"),
            (isoinit.XavierNormal, "gain"),
            (isoinit.HeUniform, "gain"),
            (isoinit.Orthogonal, "gain"),
            (isoinit.DeltaOrthogonal, "gain"),
            (isoinit.Sparse, "density"),
            (isoinit.Sparse, "gain"),
            (isoinit.Variational, "scale"),
        ],
    )
    def test_options_out_of_range(self, kind, option, bad):
        with pytest.raises(ArgumentError, match=rf"{kind.__name__}\({option}="):
            kind(**{option: bad})

    @pytest.mark.parametrize("density", [0, 1.5])
    def test_density_out_of_range(self, density):
        with pytest.raises(ArgumentError, match="above 0 and at most 1"):
            isoinit.Sparse(density=density)

    @pytest.mark.parametrize("dtype", [torch.int32, torch.float8_e4m3fn])
    def test_types_that_cannot_be_drawn(self, dtype):
        model = network()
        model.codes = nn.Parameter(torch.zeros(3).to(dtype), requires_grad=False)
        plan = isoinit.plan(model, X)
        plan["codes"] = isoinit.Normal()
        unchanged(
            model,
            lambda: plan.apply(model, seed=0),
            PlanError,
            "'codes' has dtype .*; expected float32",
        )

    def test_lazy_parameters(self):
        with pytest.raises(PlanError, match=r"'0\.weight'.* has no shape yet .*Run the model once"):
            isoinit.plan(nn.Sequential(nn.LazyLinear(3)), X)

    def test_the_meta_device_can_be_planned_but_not_checked(self, plan):
        with torch.device("meta"):
            model = network()
        assert isoinit.plan(model, X) == plan
        with pytest.raises(PlanError, match="is on the meta device"):
            isoinit.check(model, X)
        plan.apply(model.to_empty(device="cpu"), seed=0)
        assert torch.equal(model[0].weight, plan.apply(network(), seed=0)[0].weight)

    @pytest.mark.parametrize("seed", [1.5, "0"])
    def test_a_seed_that_is_no_whole_number(self, plan, seed):
        model = network()
        unchanged(model, lambda: plan.apply(model, seed), ArgumentError, "expected an integer")

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("", "not valid JSON"),
            ('{"format": "isoinit plan", "ver', "not valid JSON"),
            ("[1, 2]", "not a plan"),
            ('{"format": "something else"}', "not a plan"),
            (
                '{"format": "isoinit plan", "version": 99}',
                r"version 99, but this isoinit reads version 1",
            ),
            ('{"format": "isoinit plan", "version": 1}', "is missing"),
        ],
    )
    def test_plan_files_that_cannot_be_read(self, text, match, tmp_path):
        path = tmp_path / "plan.json"
        path.write_text(text)
        with pytest.raises(PlanError, match=match) as caught:
            isoinit.Plan.load(path)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize(
        "change",
        [
            {"initializer": "Exec"},
            {"initializer": "Normal", "std": -1},
            {"initializer": "Normal", "color": "red"},
            {"initializer": "Dirac"},
            7,
        ],
    )
    def test_plan_files_with_values_that_no_plan_holds(self, plan, change):
        data = json.loads(plan.to_json())
        data["parameters"]["0.weight"]["initializer"] = change
        with pytest.raises(PlanError, match="the plan is not valid"):
            isoinit.Plan.from_json(json.dumps(data))

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            isoinit.Plan.load(tmp_path / "none.json")


def test_the_page_shows_every_parameter_and_what_is_expected(tmp_path):
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    plan = isoinit.plan(model, torch.randn(4, 8))
    page = plan._page()
    (table,) = page.tables
    assert [row[0] for row in table.rows] == [entry.name for entry in plan]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert set(table.filters) <= set(table.columns)
    signal, gradient = page.charts
    assert list(signal.names) == list(gradient.names) == ["0", "2"]
    assert gradient.curves[0].values[-1] == 1
    assert signal.curves[0].points  # of each kind there is one
    assert ("elements", "90") in page.facts
    assert plan.to_html(tmp_path / "a.html") == (tmp_path / "a.html").read_text(encoding="utf-8")
    assert plan._repr_html_().startswith("<iframe")


def test_two_plans_are_shown_as_one(tmp_path):
    model, batch = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(4, 8)
    plan = isoinit.plan(model, batch)
    other = isoinit.plan(model, batch, overrides={"2.weight": isoinit.Normal(std=0.5)})
    found = plan.diff(other)
    page = found._page()
    (table,) = page.tables
    first, *others = table.rows
    std = table.columns.index("std before")
    assert first[:2] == ("2.weight", "changed")
    assert first[std : std + 2] == (plan["2.weight"].std, 0.5)
    assert {row[1] for row in others} == {"same"}
    assert {curve.group for chart in page.charts for curve in chart.curves} == {"before", "after"}
    assert found.to_html(tmp_path / "a.html").startswith("<!doctype html>")


def test_an_entry_has_a_form_for_notebooks():
    entry = isoinit.plan(nn.Linear(4, 4), torch.randn(2, 4))["weight"]
    text = entry._repr_html_()
    assert text.startswith("<table>")
    assert html.escape(entry.reason) in text
    assert str(entry.initializer) in text


def test_the_page_of_a_plan_warns_as_the_plan_does():
    plan = isoinit.plan(nn.Linear(4, 4), torch.randn(2, 4))
    plan.notes = ("something is amiss",)
    assert ("warning", "something is amiss") in [
        (remark.severity, remark.sentence) for remark in plan._page().remarks
    ]


class TestSeeds:
    """Without a seed each call draws one, and the plan tells which."""

    def test_in_a_loop_all_differ_and_the_generator_decides(self):
        def loop():
            torch.manual_seed(7)
            model, found = nn.Linear(4, 4), []
            for _ in range(20):
                isoinit.init(model, torch.zeros(1, 4))
                found.append(tuple(model.weight.flatten().tolist()))
            return found

        found = loop()
        assert len(set(found)) == 20
        assert loop() == found

    def test_the_seed_is_told_saved_and_never_used_again_in_silence(self):
        model = nn.Linear(4, 4)
        plan = isoinit.plan(model, torch.zeros(1, 4))
        before = isoinit.Plan.from_json(plan.to_json())
        assert plan.seed is None
        assert before.seed is None
        plan.apply(model)
        first, weight = plan.seed, model.weight.clone()
        loaded = isoinit.Plan.from_json(plan.to_json())
        assert loaded.seed == first
        assert plan == before
        assert plan.digest == before.digest
        assert not plan.diff(before)
        assert plan.calibrate(model, torch.randn(32, 4)).seed is None
        plan.apply(model)
        assert plan.seed != first
        loaded.apply(model, loaded.seed)
        assert torch.equal(model.weight, weight)
        plan.apply(model, 5)
        assert plan.seed == 5

    def test_a_failed_apply_tells_no_seed(self):
        plan = isoinit.plan(nn.Linear(4, 4), torch.zeros(1, 4))
        with pytest.raises(PlanError):
            plan.apply(nn.Linear(4, 5))
        assert plan.seed is None

    def test_a_seed_in_a_file_is_a_number(self):
        plan = isoinit.init(nn.Linear(4, 4), torch.zeros(1, 4), seed=5)
        text = plan.to_json().replace('"seed": 5', '"seed": "five"')
        with pytest.raises(PlanError, match="seed: found 'five'; expected an integer"):
            isoinit.Plan.from_json(text)
