"""`coordinates`: a transfer is even, one learning rate for all is not, and nothing is left behind."""

import json
import math
import random

import numpy as np
import pytest
import torch
from torch import nn

import isoinit
from by_width import GPT, LABELS, NEXT, TOKENS, X, cross_entropy, mlp
from isoinit.errors import ArgumentError, TraceError, UnhealthyError, UnknownParameterError

WIDTHS = (32, 64, 128)
LOSS = nn.CrossEntropyLoss()


def check(build=mlp, widths=WIDTHS, batch=(X, LABELS), loss=LOSS, **more):
    return isoinit.coordinates(build, widths, batch=batch, loss=loss, **more)


def check_gpt(fused=True, **more):
    return check(lambda width: GPT(width, fused), batch=(TOKENS, NEXT), loss=cross_entropy, **more)


def by_hand(model, width, seed):
    """μP of an MLP under Adam, written out (Yang et al. 2022, table 8), from a width of 32."""
    isoinit.plan(model, X).apply(model, seed)
    weights = [p for p in model.parameters() if p.dim() > 1]
    grown = width / WIDTHS[0]
    with torch.no_grad():
        weights[-1].mul_(grown**-0.5)
    hidden = [id(weight) for weight in weights[1:]]
    return [
        {"params": [p], "lr": 2e-3 / (grown if id(p) in hidden else 1)} for p in model.parameters()
    ]


@pytest.fixture(scope="module")
def even():
    return check()


@pytest.fixture(scope="module")
def uneven():
    return check(parametrization="standard")


@pytest.fixture(scope="module")
def gpt():
    return check_gpt()


class TestVerdict:
    def test_a_transfer_is_even(self, even):
        even.raise_if_uneven()
        assert even.ok
        assert even.findings == []
        assert [layer.kind for layer in even.layers] == ["input", "hidden", "hidden", "output"]

    def test_one_learning_rate_for_all_is_not(self, uneven):
        assert not uneven.ok
        assert {f.name for f in uneven.findings} == {"grows with width"}
        assert uneven["2"].slope(3) > 0.5
        assert uneven["6"].slope(3) > 0.5
        with pytest.raises(UnhealthyError, match=r"2…4: the change after step 3 follows width"):
            uneven.raise_if_uneven()

    def test_attention_with_a_tied_readout(self, gpt):
        standard = check_gpt(parametrization="standard")
        assert gpt.ok
        assert not standard.ok
        slopes = {kind.name: kind.slope(3) for kind in standard.kinds}
        assert all(slopes[f"h.0…1.{name}"] > 0.4 for name in ("c_attn scores", "c_fc", "c_out"))

    def test_attention_that_is_written_out(self, gpt):
        found = check_gpt(fused=False)
        assert found.ok
        assert [layer.name for layer in found.layers] == [layer.name for layer in gpt.layers]

    def test_the_gauge_of_packed_projections_is_taken_out(self, gpt):
        """Queries, keys and values are stored smaller, so that scores are over d instead of √d."""
        assert all(abs(gpt[f"h.{i}.c_attn"].slope(3)) < 0.2 for i in range(2))

    def test_mup_by_hand_is_the_transfer(self, even):
        found = check(parametrization=by_hand)
        assert found.ok
        assert found.parametrization == "own"
        for one, other in zip(found.layers, even.layers, strict=True):
            np.testing.assert_allclose(one.changes, other.changes, rtol=1e-3)

    def test_an_optimizer_of_your_own(self):
        def start(model, width, seed):
            return torch.optim.SGD(by_hand(model, width, seed), lr=0.1)

        assert check(parametrization=start, steps=1)["0"].changes[0][0][0] > 0

    def test_a_base_below_all_widths(self, even):
        found = check(base=16)
        assert found.ok
        assert found["2"].by_width(3)[0] < even["2"].by_width(3)[0]  # of half the rate

    @pytest.mark.parametrize("optimizer", ["adam", "muon", "muon:match_rms_adamw"])
    def test_other_optimizers(self, optimizer):
        found = check(optimizer=optimizer, base=16)
        assert found.ok, str(found)
        assert found["2"].by_width(3)[0] > 0.01

    def test_sgd_is_even_where_the_readout_starts_at_zero(self):
        """Else its steps follow the output of the start, which falls with the width."""

        def start(model, width, seed):
            t = isoinit.transfer(mlp(32), model, X, optimizer="sgd")
            t.plan.apply(model, seed)
            nn.init.zeros_(model[-1].weight)
            return t.groups(model, lr=0.1)

        assert check(parametrization=start, optimizer="sgd").ok

    def test_a_training_that_diverges(self):
        found = check(parametrization="standard", optimizer="sgd", lr=1e30)
        assert [f.name for f in found.findings] == ["diverged"]
        assert math.isnan(found["2"].slope(3))
        assert "–" in str(found)
        json.loads(found.to_json())

    def test_a_loss_of_its_own_and_none(self):
        more = {"batch": X, "steps": 1, "parametrization": "standard"}
        assert check(loss=lambda output: output.square().mean(), **more).steps == 1
        assert len(check(loss=None, **more).layers) == 4


class TestNumbers:
    def test_the_same_arguments_give_the_same_numbers(self, even):
        torch.manual_seed(5)  # nothing outside decides
        assert check().to_json() == even.to_json()

    def test_changes_are_those_of_a_training_by_hand(self, uneven):
        torch.manual_seed(1)
        model = mlp(64)
        isoinit.plan(model, X).apply(model, 1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
        first = model(X).detach()
        for _ in range(3):
            optimizer.zero_grad()
            LOSS(model(X), LABELS).backward()
            optimizer.step()
        by_hand = (model(X) - first).square().mean().sqrt().item()
        assert uneven["6"].changes[2][1][1] == pytest.approx(by_hand, rel=1e-6)

    def test_data_of_each_step(self):
        seen = []

        def data(step):
            seen.append(step)
            return (X[step : step + 8], LABELS[step : step + 8]), LOSS

        check(batch=X, loss=None, data=data, parametrization="standard")
        assert seen == [0, 1, 2] * 6

    def test_dropout_is_the_same_at_each_measurement(self):
        def build(width):
            return nn.Sequential(
                nn.Linear(8, width), nn.Dropout(0.5), nn.Linear(width, width), nn.Linear(width, 4)
            )

        found = check(build, parametrization="standard", lr=1e-12)
        assert all(max(layer.by_width(3)) < 1e-6 for layer in found.layers)


class TestNothingIsLeft:
    def test_generators_are_as_before(self):
        def drawn():
            return torch.rand(3).tolist(), random.random(), np.random.rand()

        def seed():
            torch.manual_seed(7)
            random.seed(7)
            np.random.seed(7)

        seed()
        expected = drawn()
        seed()
        check(steps=1)
        assert drawn() == expected

    def test_models_keep_no_hooks(self):
        models = []

        def build(width):
            models.append(mlp(width))
            return models[-1]

        check(build, steps=1)
        hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
        assert len(models) >= 6
        assert not any(getattr(m, h) for model in models for m in model.modules() for h in hooks)

    def test_training_goes_where_gradients_are_switched_off(self, even):
        with torch.no_grad():
            assert check().to_json() == even.to_json()


class TestShown:
    def test_fits_80_columns(self, monkeypatch, even, uneven, gpt):
        monkeypatch.setenv("COLUMNS", "80")
        for found, verdict in ((even, "even: "), (uneven, "uneven: "), (gpt, "even: ")):
            lines = str(found).splitlines()
            assert lines[0].startswith(verdict)
            assert max(map(len, lines)) <= 80

    def test_a_row_a_kind_or_a_layer(self, monkeypatch, even):
        monkeypatch.setenv("COLUMNS", "80")
        rows = [line.split()[0] for line in str(even).splitlines() if line.startswith(" ")]
        assert "2…4" in rows
        told = [line.split()[0] for line in even.show(verbose=True).splitlines() if line]
        assert {"0", "2", "4", "6"} <= set(told)

    def test_repr(self, even, uneven):
        assert repr(even) == "<Coordinates: even, 4 layers, widths 32, 64, 128>"
        assert repr(uneven).startswith("<Coordinates: uneven")

    def test_json(self, uneven):
        data = json.loads(uneven.to_json())
        assert (data["ok"], data["widths"], data["seeds"]) == (False, [32, 64, 128], [0, 1])
        assert [layer["name"] for layer in data["layers"]] == ["0", "2", "4", "6"]
        assert data["layers"][1]["slopes"][2] == pytest.approx(uneven["2"].slope(3))
        assert len(data["findings"]) == 2

    def test_page(self, tmp_path, uneven):
        text = uneven.to_html(tmp_path / "page.html")
        assert (tmp_path / "page.html").read_text(encoding="utf-8") == text
        assert "Scores and outputs after step 3" in text
        assert "follows width^" in text
        assert uneven._repr_html_().startswith("<iframe")

    def test_an_unknown_layer(self, even):
        with pytest.raises(UnknownParameterError, match="no layer is called '8'"):
            even["8"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"widths": (64, 128)}, "widths=(64, 128): expected three"),
            ({"widths": (128, 64, 32)}, "three or more increasing integers"),
            ({"widths": (64, 64, 128)}, "three or more increasing integers"),
            ({"widths": 64}, "widths=64"),
            ({"widths": (0, 64, 128)}, "widths=(0, 64, 128)"),
            ({"seeds": [0]}, "seeds=[0]: expected two"),
            ({"seeds": 2}, "seeds=2"),
            ({"seeds": [1, 1]}, "seeds=[1, 1]"),
            ({"steps": 0}, "steps=0"),
            ({"lr": 0}, "lr=0"),
            ({"optimizer": "lion"}, "optimizer='lion': its step"),
            ({"parametrization": "mup"}, "parametrization='mup': expected 'transfer'"),
            ({"base": 64}, "base=64 is larger than width 32"),
            ({"base": 0}, "base=0"),
            ({"optimizer": "muon", "parametrization": "standard"}, "does not define which"),
            ({"loss": "mse"}, "loss='mse'"),
            ({"batch": "x", "loss": None}, "batch is a str"),
            ({"batch": None, "loss": None}, "batch is a NoneType"),
        ],
    )
    def test_refused_before_anything_runs(self, arguments, said):
        def never(width):
            raise AssertionError("built")

        with pytest.raises(ArgumentError) as error:
            check(never, **arguments)
        assert said in str(error.value)

    def test_what_is_no_model(self):
        with pytest.raises(ArgumentError, match=r"build\(32\) returned a int"):
            check(lambda width: 3)

    def test_a_width_that_cannot_be_built(self):
        with pytest.raises(ArgumentError, match=r"build\(30\) failed: AssertionError: embed_dim"):
            check(lambda width: nn.MultiheadAttention(width, 4), (30, 60, 120))

    def test_a_loss_that_is_no_number(self):
        with pytest.raises(ArgumentError, match=r"loss returned a tensor of shape \(64, 4\)"):
            check(batch=X, loss=lambda output: output)

    def test_a_forward_that_fails(self):
        with pytest.raises(TraceError, match="mat1 and mat2"):
            check(batch=torch.randn(3, 5), loss=None)

    def test_nothing_to_train(self):
        with pytest.raises(ArgumentError, match="depend"):
            check(lambda width: mlp(width).requires_grad_(False), parametrization=lambda *_: [
                torch.zeros(1, requires_grad=True)])  # fmt: skip
