"""Threads of one process work on models one at a time, and leave them as they were."""

import os
import sys
import threading
import time

import pytest
import torch
from torch import nn

import isoinit
from interrupted import at_once
from isoinit._system import alone as turns
from isoinit._system.alone import alone
from isoinit.errors import IsoinitWarning

BATCH = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(16, 64), nn.LayerNorm(64), nn.Linear(64, 4)
        self.register_buffer("table", torch.ones(64))

    def forward(self, x):
        return self.down(self.norm(torch.relu(self.up(x)) * self.table))


@pytest.fixture
def often():
    """Threads take turns a thousand times as often as by default."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def in_threads(*calls):
    """What the calls give, each in a thread of its own; an error is raised here."""
    found, errors = at_once(calls)
    if errors:
        raise errors[0]
    return found


def stance():
    return torch._dynamo.eval_frame._stance.stance


VERBS = {
    "plan": lambda model: isoinit.plan(model, BATCH).to_json(),
    "check": lambda model: str(isoinit.check(model, BATCH)),
    "fingerprint": isoinit.fingerprint,
    "calibrate": lambda model: isoinit.plan(model, BATCH).calibrate(model, BATCH).to_json(),
    "own recipe": lambda model: isoinit.plan(model, recipe="own").to_json(),
}
PAIRS = [("plan", verb) for verb in VERBS] + [("check", "check"), ("check", "fingerprint")]


@pytest.mark.parametrize("shared", [True, False], ids=["one model", "two models"])
@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_two_verbs_at_once(pair, shared, often):
    models = [Net()] * 2 if shared else [Net(), Net()]
    before = [{k: (v, v.clone()) for k, v in m.state_dict(keep_vars=True).items()} for m in models]
    expected = [VERBS[verb](model) for verb, model in zip(pair, models, strict=True)]
    for _ in range(3):
        found = in_threads(
            *[lambda v=v, m=m: VERBS[v](m) for v, m in zip(pair, models, strict=True)]
        )
        assert found == expected
    for model, tensors in zip(models, before, strict=True):
        for name, value in model.state_dict(keep_vars=True).items():
            assert value is tensors[name][0]
            assert torch.equal(value, tensors[name][1])
    assert stance() == "default"


def test_what_fills_meets_no_lent_tensor(often):
    model = Net()
    plan = isoinit.plan(model, BATCH)
    for seed in range(5):
        in_threads(lambda s=seed: plan.apply(model, s), lambda: isoinit.check(model, BATCH))
        assert isoinit.fingerprint(model) == plan.fingerprint(seed)


def test_a_thread_that_is_inside_enters_again():
    with alone(), alone():
        assert in_threads(lambda: turns._turn.acquire(blocking=False)) == [False]
    assert in_threads(lambda: turns._turn.acquire(blocking=False) and turns._turn.release()) == [
        None
    ]


def test_an_error_ends_the_turn():
    with pytest.raises(KeyError), alone():
        raise KeyError
    assert in_threads(lambda: turns._turn.acquire(blocking=False) and turns._turn.release()) == [
        None
    ]


def test_a_long_wait_is_told(monkeypatch):
    monkeypatch.setattr(turns, "LONG", 0.1)
    entered = threading.Event()

    def hold():
        with alone():
            entered.set()
            time.sleep(0.5)

    def wait():
        entered.wait()
        with pytest.warns(IsoinitWarning, match=r"waited \d s for another thread"):
            isoinit.plan(nn.Linear(2, 2))

    in_threads(hold, wait)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_is_forked_inside_does_not_wait():
    """The thread that is inside is not there in the new process, and never leaves."""
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with alone():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    child = os.fork()
    if not child:
        os._exit(0 if turns._turn.acquire(blocking=False) else 1)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
