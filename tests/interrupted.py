"""Verbs, what they might leave behind, signals and threads: for tests and for `make soak`."""

import random
import signal
import threading

import numpy as np
import torch
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

import isoinit
from isoinit import sparse, variational

BATCH = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(16, 64), nn.BatchNorm1d(64), nn.Linear(64, 4)
        self.kept, self.calls = {"first": torch.zeros(3)}, 0

    def forward(self, x):
        self.calls += 1
        self.kept["last"] = x
        with torch.no_grad():
            scale = self.norm.weight.mean()
        return nn.functional.dropout(self.down(self.norm(torch.relu(self.up(x)) * scale)), 0.1)


def initialize(model):
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


def build_deferred():
    with isoinit.deferred():
        nn.init.trunc_normal_(Net().up.weight)


def verbs(model, plan, folder):
    """Calls that leave a model as it is."""
    wide = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    return {
        "plan": lambda: isoinit.plan(model, BATCH),
        "read": lambda: isoinit.read(model, BATCH),
        "check": lambda: isoinit.check(model, BATCH, jacobian=True),
        "calibrate": lambda: plan.calibrate(model, BATCH),
        "fingerprint": lambda: isoinit.fingerprint(model),
        "write_checkpoint": lambda: isoinit.write_checkpoint(plan, model, folder(), seed=0),
        "compare": lambda: isoinit.compare(Net, BATCH, ["plan"], steps=2, seeds=[0]),
        "audit": lambda: isoinit.audit(Net, initialize),
        "deferred": build_deferred,
        "variational": lambda: variational.convert(model, plan, inplace=False, seed=0),
        "sparse": lambda: sparse.convert(wide, density=0.1, inplace=False, seed=0),
    }


def state(model):
    """What a model holds: every attribute, and the values."""
    found = {}
    for name, module in model.named_modules():
        hooks = len(module._forward_hooks), len(module._forward_pre_hooks)
        found[name] = type(module), tuple(vars(module)), module.training, hooks
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        found[f"{name}, what"] = id(tensor), tensor.requires_grad, tensor.grad is None
        found[f"{name}, values"] = tensor.tolist()
    found["kept"] = tuple(model.kept), model.calls
    return found


def settings():
    """What a run might leave behind in the process."""
    generators = torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())
    return {
        "modes": (_get_current_function_mode_stack(), _get_current_dispatch_mode_stack()),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "type": (torch.get_default_dtype(), torch.get_default_device()),
        "stance": torch._dynamo.eval_frame._stance.stance,
        "initializers": (nn.init.trunc_normal_, nn.init.orthogonal_),
        "generators": generators,
        "handler": signal.getsignal(signal.SIGINT),
        "errors": np.geterr(),
    }


class Alarm:
    """Calls the handler of SIGINT at a moment of its own choice, wherever the process is then."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.span = 0.0

    def during(self, call):
        """Interrupt a call; returns the exception, or None where it was done before."""
        delay = max(1e-5, self.random.random() * self.span)
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                call()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt as stop:
            return stop
        return None


def at_once(calls):
    """What calls give, each in a thread of its own, and what they raise."""
    found, errors = [None] * len(calls), []

    def work(index):
        try:
            found[index] = calls[index]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, errors
