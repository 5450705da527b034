"""Inside what torch transforms, traces or compiles nothing can be measured, and that is said."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import isoinit
from isoinit.errors import ArgumentError, PlanError

BATCH = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


def vmap(function):
    torch.func.vmap(function)(torch.zeros(2))


def grad(function):
    torch.func.grad(lambda x: function(x).sum())(torch.zeros(2))


def jvp(function):
    torch.func.jvp(function, (torch.zeros(2),), (torch.ones(2),))


def traced(function):
    torch.jit.trace(function, torch.zeros(2), check_trace=False)


def symbolic(function):
    torch.fx.symbolic_trace(function)


def fx(function):
    make_fx(function)(torch.zeros(2))


def compiled(function):
    torch._dynamo.reset()
    torch.compile(function, backend="eager")(torch.zeros(2))


INSIDE = {
    vmap: "torch.func",
    grad: "torch.func",
    jvp: "torch.func",
    traced: "torch.jit.trace",
    symbolic: "torch.fx.symbolic_trace",
    fx: "make_fx",
    compiled: "torch.compile",
}


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("verb", ["plan", "check", "apply"])
def test_refused_inside(inside, verb):
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    plan, before = isoinit.plan(model), [p.detach().clone() for p in model.parameters()]
    verbs = {
        "plan": lambda: isoinit.plan(model, BATCH),
        "check": lambda: isoinit.check(model, BATCH),
        "apply": lambda: plan.apply(model, seed=0),
    }

    def function(x):
        verbs[verb]()
        return x + 1

    with pytest.raises(
        ArgumentError, match=f"called inside .*{INSIDE[inside]}.*nothing was changed"
    ):
        inside(function)
    assert all(map(torch.equal, before, model.parameters()))
    verbs[verb]()  # outside it works
    # And torch.compile goes on compiling.
    assert torch._dynamo.eval_frame._stance.stance == "default"


class TestFakeModels:
    """A model that was built of fake tensors has no values: it can be planned, and that is all."""

    @pytest.fixture
    def model(self):
        with FakeTensorMode():
            return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))

    def test_it_is_planned(self, model):
        real = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        assert isoinit.plan(model, BATCH).to_json() == isoinit.plan(real, BATCH).to_json()

    @pytest.mark.parametrize("verb", ["apply", "check", "calibrate", "fingerprint"])
    def test_it_is_not_filled_or_measured(self, model, verb):
        plan = isoinit.plan(model, BATCH)
        verbs = {
            "apply": lambda: plan.apply(model, seed=0),
            "check": lambda: isoinit.check(model, BATCH),
            "calibrate": lambda: plan.calibrate(model, BATCH),
            "fingerprint": lambda: isoinit.fingerprint(model),
        }
        with pytest.raises(PlanError, match=r"'0\.weight'.* is a fake tensor .*FakeTensorMode"):
            verbs[verb]()
