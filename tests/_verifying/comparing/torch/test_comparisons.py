"""`compare`: the same numbers for the same arguments, what is measured, and what is refused."""

import json
import math
import statistics

import pytest
import torch
from torch import nn

import isoinit
from isoinit._verifying.comparing import METHODS, Run
from isoinit._verifying.comparing.results import Compared
from isoinit.errors import ArgumentError, TraceError, UnknownParameterError

X = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
Y = torch.randint(4, (32,), generator=torch.Generator().manual_seed(1))


def build(depth=4):
    hidden = [m for _ in range(depth) for m in (nn.Linear(16, 16), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(16, 4))


def loss(output):
    return nn.functional.cross_entropy(output, Y)


def compare(methods=("default", "plan"), steps=10, seeds=(0, 1), **more):
    return isoinit.compare(build, X, methods, steps, loss=loss, seeds=seeds, **more)


def timeless(found):
    """A comparison as data, without its times."""
    data = json.loads(found.to_json())
    for method in data["methods"]:
        del method["fill_seconds"], method["step_seconds"]
        for run in method["runs"]:
            del run["seconds"]
    return data


class TestNumbers:
    def test_the_same_arguments_give_the_same_numbers(self):
        torch.manual_seed(5)
        first = compare(METHODS)
        torch.manual_seed(6)  # nothing outside decides
        assert timeless(first) == timeless(compare(METHODS))

    def test_generators_are_as_before(self):
        torch.manual_seed(7)
        expected = torch.rand(3)
        torch.manual_seed(7)
        compare()
        assert torch.equal(torch.rand(3), expected)

    def test_a_method_does_not_depend_on_the_others(self):
        alone, among = compare(["plan"])["plan"], compare(["he", "default", "plan"])["plan"]
        assert [run.losses for run in alone.runs] == [run.losses for run in among.runs]

    def test_losses_are_those_of_a_training_by_hand(self):
        model = isoinit.plan(build(), X).apply(build(), 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        by_hand = []
        for _ in range(5):
            value = loss(model(X))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            by_hand.append(value.item())
        found = compare(["plan"], steps=5, seeds=[1], optimizer="sgd", lr=0.1)
        assert found["plan"].runs[0].losses == tuple(by_hand)

    def test_default_is_what_the_constructor_gives_under_the_seed(self):
        torch.manual_seed(3)
        expected = loss(build()(X)).item()
        assert compare(["default"], steps=1, seeds=[3])["default"].runs[0].losses == (expected,)

    def test_health_is_that_of_check(self):
        model = isoinit.plan(build(), X, method="he").apply(build(), 0)
        plan = isoinit.plan(build(), X, method="he")
        expected = isoinit.check(model, X, loss=loss, plan=plan)
        found = compare(["he"], seeds=[0, 1])["he"].health
        assert found.layers == expected.layers
        assert found.findings == expected.findings

    def test_data_of_each_step(self):
        seen = []

        def data(step):
            seen.append(step)
            return X[step : step + 8], lambda output: output.square().mean()

        found = isoinit.compare(build, X, ["plan"], 4, data=data, seeds=[0])
        assert seen == [0, 0, 1, 2, 3]  # the first also for the signal
        model = isoinit.plan(build(), X).apply(build(), 0)
        assert found["plan"].runs[0].losses[0] == model(X[:8]).square().mean().item()

    def test_without_a_loss_noise_is_learned_by_heart(self):
        found = isoinit.compare(build, X, ["zero", "plan"], 60, seeds=[0], lr=1e-2)
        # Of a network that gives zero: the mean square of the noise, 128 numbers of variance one.
        assert found["zero"].runs[0].losses[0] == pytest.approx(1, abs=0.4)
        assert found["plan"].final.median < 0.5 * found["zero"].final.median

    def test_the_models_own_loss_is_used(self):
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(16, 4)

            def forward(self, x):
                output = self.layer(x)
                return {"loss": loss(output), "logits": output}

        found = isoinit.compare(Model, X, ["plan"], 1, seeds=[0])
        model = isoinit.plan(Model(), X).apply(Model(), 0)
        assert found["plan"].runs[0].losses == (model(X)["loss"].item(),)

    def test_dropout_is_the_same_for_every_method(self):
        masks = []

        class Noisy(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(16, 4)

            def forward(self, x):
                dropped = nn.functional.dropout(torch.ones_like(x))
                masks.append(dropped)
                return self.layer(x * dropped)

        isoinit.compare(Noisy, X, ["default", "he"], 1, seeds=[4])
        trained = [mask for mask in masks if type(mask) is torch.Tensor]
        assert torch.equal(trained[-1], trained[len(trained) // 2 - 1])


class TestMemory:
    def test_bytes_of_a_linear_layer(self):
        """Weights, gradients and Adam's two moments, its step counts, and the input that is kept."""
        found = isoinit.compare(
            lambda: nn.Linear(16, 4), X, ["plan"], 2, loss=lambda y: y.sum(), seeds=[0]
        )
        parameters = 4 * (16 * 4 + 4)
        assert found["plan"].bytes == 4 * parameters + 2 * 4 + 4 * X.numel()

    def test_sgd_keeps_no_state(self):
        adam, sgd = (compare(["plan"], 1, optimizer=o)["plan"].bytes for o in ("adam", "sgd"))
        parameters = sum(4 * p.numel() for p in build().parameters())
        counts = 4 * len(list(build().parameters()))
        assert adam - sgd == 2 * parameters + counts

    def test_sparse_layers_keep_less(self):
        def wide():
            return nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256))

        methods = {
            "dense": "plan",
            "sparse": lambda model, batch, seed: isoinit.sparse.convert(
                model, isoinit.plan(model, batch), density=0.1, seed=seed
            ),
        }
        found = isoinit.compare(wide, torch.randn(8, 256), methods, 2, seeds=[0])
        assert found["sparse"].bytes < 0.5 * found["dense"].bytes


class TestMethods:
    def test_all_of_them_by_default(self):
        found = isoinit.compare(build, X, steps=1, seeds=[0])
        assert [c.method for c in found] == list(METHODS)
        assert all(c.health is not None and len(c.runs) == 1 for c in found)

    def test_functions(self):
        def in_place(model, batch, seed):
            assert batch is X
            for parameter in model.parameters():
                nn.init.constant_(parameter, seed / 10)

        found = compare({"mine": in_place, "other": lambda *_: nn.Linear(16, 4)}, 2)
        assert "symmetry" in {f.name for f in found["mine"].health.findings}
        assert len(found["other"].health.layers) == 1

    def test_one_that_fails_is_listed_with_its_error(self):
        def failing(model, batch, seed):
            raise RuntimeError("no such recipe")

        found = compare({"broken": failing, "plan": "plan"})
        assert found["broken"].error == "RuntimeError: no such recipe"
        assert found["broken"].runs == ()
        assert found["broken"].final is None
        assert len(found["plan"].runs) == 2
        assert "broken: RuntimeError: no such recipe" in str(found)
        assert found.best == "plan"

    def test_one_that_diverges(self):
        def huge(model, batch, seed):
            for parameter in model.parameters():
                nn.init.constant_(parameter, 1e30)

        found = compare({"huge": huge, "plan": "plan"}, steps=6)
        assert not math.isfinite(found["huge"].runs[0].losses[-1])
        assert found["huge"].runs[0].complete
        assert found["huge"].final.median == math.inf
        assert "diverged" in str(found)
        assert found.best == "plan"
        json.loads(found.to_json())


class TestInterrupted:
    @pytest.mark.parametrize("at", [0, 1, 7, 11])
    def test_what_is_done_is_kept(self, at):
        calls = []

        def data(step):
            calls.append(step)
            if len(calls) == at + 1:
                raise KeyboardInterrupt
            return X, loss

        def run():
            return isoinit.compare(build, X, ["default", "plan"], 5, data=data, seeds=[0])

        with pytest.raises(isoinit.errors.Interrupted) as stop:
            run()
        found = stop.value.done
        assert not found.complete
        assert "interrupted" in str(found)
        calls.extend([0] * 100)
        whole = run()
        assert whole.complete
        for name in ("default", "plan"):
            for run_, all_ in zip(found[name].runs, whole[name].runs, strict=False):
                assert run_.losses == all_.losses[: len(run_.losses)]
        assert sum(len(r.losses) for c in found for r in c.runs) == max(0, at - 1 - (at > 6))


class TestStatistics:
    RUNS = (
        Run(0, (4.0, 2.0, 1.0), True, 0.1),
        Run(1, (5.0, 3.0, 2.0), True, 0.3),
        Run(2, (9.0, math.nan), True, 0.2),
    )

    def test_median_and_range(self):
        found = Compared("x", runs=self.RUNS)
        assert found.curve() == [(5, 4, 9), (3, 2, math.inf), (2, 1, math.inf)]
        assert found.final == (2, 1, math.inf)
        assert found.step_seconds == 0.2

    def test_the_end_is_the_mean_of_the_last_tenth(self):
        losses = tuple(float(x) for x in range(40))
        assert Run(0, losses, True, 0.1).final == statistics.fmean(losses[-4:])

    def test_what_was_stopped_has_no_end(self):
        assert Compared("x", runs=(Run(0, (1.0,), False, 0.1),)).final is None


class TestText:
    def test_fits_80_columns(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        lines = str(compare(METHODS, 2, seeds=[0])).splitlines()
        assert max(map(len, lines)) <= 80
        rows = [line.split()[0] for line in lines if line.strip()]
        assert all(rows.count(method) >= 2 for method in METHODS)  # one line a method and table

    def test_the_lowest_loss_comes_first(self):
        found = compare(METHODS, 30, seeds=[0])
        shown = str(found).split("steps of")[1].splitlines()
        order = [
            line.split()[0] for line in shown if line.split()[:1] and line.split()[0] in METHODS
        ]
        finals = [found[method].final.median for method in order]
        assert finals == sorted(finals)
        assert order[0] == found.best


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"methods": ["kaiming"]}, "'kaiming'"),
            ({"methods": "plan"}, "['plan']"),
            ({"methods": []}, "methods is empty"),
            ({"steps": 0}, "steps=0"),
            ({"seeds": []}, "seeds=[]"),
            ({"seeds": 3}, "seeds=3"),
            ({"seeds": [1, 1]}, "each seed"),
            ({"optimizer": "lion"}, "optimizer='lion'"),
            ({"lr": 0}, "lr=0"),
        ],
    )
    def test_refused_before_anything_runs(self, arguments, said):
        def never():
            raise AssertionError("built")

        with pytest.raises(ArgumentError) as error:
            isoinit.compare(never, X, **arguments)
        assert said in str(error.value)

    def test_a_batch_of_another_kind(self):
        with pytest.raises(ArgumentError, match="batch is a str"):
            isoinit.compare(build, "x")

    def test_what_is_no_model(self):
        with pytest.raises(ArgumentError, match="build_model returned a int"):
            isoinit.compare(lambda: 3, X)

    def test_a_forward_that_fails(self):
        with pytest.raises(TraceError, match="mat1 and mat2"):
            isoinit.compare(build, torch.randn(3, 5), ["plan"])

    def test_an_unknown_name_in_the_result(self):
        with pytest.raises(ArgumentError, match="it has plan"):
            compare(["plan"], 1)["he"]

    def test_nothing_to_train(self):
        def frozen():
            return build().requires_grad_(False)

        with pytest.raises(ArgumentError, match="does not depend on a trainable parameter"):
            isoinit.compare(frozen, X, ["plan"], 1)


def test_only_some_of_the_model_is_initialized_by_the_methods():
    found = compare(["default", "plan", "he"], steps=1, seeds=(0,), only="8.*")
    default, *others = (compared.health.forward for compared in found)
    for forward in others:
        assert forward[:-1] == default[:-1]
        assert forward[-1] != default[-1]


def test_a_pattern_that_matches_nothing_stops_it():
    with pytest.raises(UnknownParameterError, match="no parameter matches 'hed"):
        compare(only="hed.*")
