"""Signals wait until a run has put everything back, and are never lost."""

import signal
import threading

import pytest
import torch
from torch import nn

import isoinit
from interrupted import BATCH, Alarm, Net, settings, state, verbs
from isoinit._system.signals import call_user, check_signals, postponed
from isoinit.errors import Interrupted


def interrupt():
    signal.raise_signal(signal.SIGINT)


def stopped(work):
    """What a block did before a signal ended it: `work` is called in the block, with a list."""
    done = []

    def run():
        with postponed():
            work(done)

    with pytest.raises(KeyboardInterrupt) as raised:
        run()
    return done, raised.value


class TestPostponed:
    def test_a_signal_waits_for_the_end(self):
        def work(done):
            call_postponed(interrupt)
            done.append(1)

        assert stopped(work)[0] == [1]

    def test_it_is_raised_where_it_is_asked_for(self):
        def work(done):
            call_postponed(interrupt)
            check_signals()
            done.append(1)

        assert stopped(work)[0] == []
        check_signals()  # nothing waits any more

    def test_the_caller_s_code_is_stopped_at_once(self):
        def work(done):
            call_postponed(lambda: call_user(theirs))
            done.append(1)

        def theirs():
            interrupt()
            pytest.fail("it went on")

        assert stopped(work)[0] == []

    def test_what_called_the_caller_s_code_is_not(self):
        """A function of ours that the caller's code runs into, such as a mode of torch."""

        def work(done):
            call_user(lambda: call_postponed(interrupt))
            done.append(1)

        assert stopped(work)[0] == [1]

    def test_an_error_does_not_lose_the_signal(self):
        def work(_done):
            call_postponed(interrupt)
            raise ValueError

        assert isinstance(stopped(work)[1].__context__, ValueError)

    def test_every_handler_waits_and_each_is_called(self, handlers):
        def work(done):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                call_postponed(lambda number=number: signal.raise_signal(number))
            done.extend(heard)

        heard = []
        handlers(signal.SIGTERM, lambda number, _: heard.append(number))
        handlers(signal.SIGUSR1, lambda number, _: heard.append(number))
        assert stopped(work)[0] == []
        assert sorted(heard) == sorted([signal.SIGTERM, signal.SIGUSR1])

    def test_handlers_are_put_back(self):
        before = signal.getsignal(signal.SIGINT)
        with postponed():
            assert signal.getsignal(signal.SIGINT) is not before
            with postponed():
                pass
            assert signal.getsignal(signal.SIGINT) is not before
        assert signal.getsignal(signal.SIGINT) is before

    def test_other_threads_have_none(self):
        def work():
            with postponed():
                found.append(signal.getsignal(signal.SIGINT))

        found, before = [], signal.getsignal(signal.SIGINT)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert found == [before]

    def test_what_is_ignored_stays_so(self, handlers):
        handlers(signal.SIGINT, signal.SIG_IGN)
        with postponed():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            interrupt()

    def test_a_handler_set_inside_is_kept(self, handlers):
        handlers(signal.SIGUSR1, lambda _number, _frame: None)

        def mine(_number, _frame):
            pass

        with postponed():
            signal.signal(signal.SIGUSR1, mine)
        assert signal.getsignal(signal.SIGUSR1) is mine


@pytest.fixture
def handlers():
    """Sets handlers, which are put back at the end."""
    before = {}

    def handle(number, handler):
        before.setdefault(number, signal.signal(number, handler))

    yield handle
    for number, handler in before.items():
        signal.signal(number, handler)


def call_postponed(function):
    """Call a function as from one of isoinit's own: no signal may stop it."""
    names = {"__name__": "isoinit.elsewhere", "function": function}
    exec("function()", names)


@pytest.fixture
def alarm(handlers):
    handlers(signal.SIGALRM, signal.default_int_handler)
    return Alarm(0)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that sends signals")
class TestVerbs:
    @pytest.mark.parametrize("name", list(verbs(None, None, None)))
    def test_an_interrupted_verb_leaves_nothing(self, name, alarm, tmp_path_factory):
        model = Net()
        plan = isoinit.plan(model, BATCH)
        call = verbs(model, plan, lambda: tmp_path_factory.mktemp("folder") / "new")[name]
        call()
        model_before, before = state(model), settings()
        alarm.span, stopped = 0.05, 0
        for _ in range(6):
            stopped += alarm.during(call) is not None
            assert state(model) == model_before
            assert settings() == before
        for folder in tmp_path_factory.getbasetemp().glob("folder*/new"):
            assert not [path.name for path in folder.iterdir() if "partial" in path.name]

    def test_apply_says_what_is_filled_and_completes(self, alarm):
        with isoinit.deferred():
            model, whole = (nn.Sequential(*(nn.Linear(512, 512) for _ in range(20))) for _ in "12")
        plan = isoinit.plan(model, method="he")
        plan.apply(whole, seed=3)
        alarm.span = 0.05
        for _ in range(200):
            stop = alarm.during(lambda: plan.apply(model, seed=3))
            if isinstance(stop, Interrupted) and 0 < len(stop.done) < len(plan):
                break
        else:
            pytest.fail("no fill was stopped half way")
        assert f"{len(stop.done)} of {len(plan)} parameters were filled" in str(stop)
        assert "again with seed=3" in str(stop)
        values, filled = whole.state_dict(), model.state_dict()
        assert all(torch.equal(filled[name], values[name]) for name in stop.done)
        plan.apply(model, seed=3)
        assert all(torch.equal(filled[name], values[name]) for name in plan.entries)

    def test_a_forward_that_does_not_end_is_stopped_at_once(self, alarm):
        class Endless(Net):
            def forward(self, x):
                while True:
                    x = [x][0]

        model = Endless()
        before, settings_before = state(model), settings()
        alarm.span = 0.02
        assert alarm.during(lambda: isoinit.plan(model, BATCH)) is not None
        assert state(model) == before
        assert settings() == settings_before

    def test_grad_mode_that_the_forward_was_switching_is_put_back(self, alarm):
        class Switches(Net):
            def forward(self, x):
                for _ in range(300):
                    with torch.no_grad():
                        x = x + 0.0
                return super().forward(x)

        model = Switches()
        before = settings()
        alarm.span = 0.05
        for _ in range(10):
            alarm.during(lambda: isoinit.plan(model, BATCH))
            assert settings() == before

    def test_who_waits_for_another_thread_can_be_stopped(self, alarm):
        from isoinit._system.alone import alone

        ready, leave = threading.Event(), threading.Event()

        def hold():
            with alone():
                ready.set()
                leave.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        ready.wait()
        alarm.span = 0.02
        try:
            assert alarm.during(lambda: isoinit.plan(Net(), BATCH)) is not None
        finally:
            leave.set()
            thread.join()
