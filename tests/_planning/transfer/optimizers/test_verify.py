"""Whether an optimizer's groups are as planned: schedules that keep them, and those that don't."""

import re
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import lr_scheduler

from isoinit.errors import ArgumentError, PlanError
from transferred import MLP, by_hand, factors, mlp, mlp_transfer, train

T = mlp_transfer()
ANNEALED = "They seem to have a floor of "


def adamw(lr=0.01, weight_decay=0.1, t=T, **options):
    model = mlp()
    return torch.optim.AdamW(t.groups(model, lr=lr, weight_decay=weight_decay), **options)


def refused(optimizer, *said, t=T):
    with pytest.raises(PlanError) as error:
        t.verify(optimizer)
    for text in said:
        assert text in str(error.value), error.value


def stepped(optimizer, scheduler, steps):
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        yield


# What keeps the ratios

NUMBER = st.just(0.0) | st.floats(1e-30, 10)

SCHEDULES = {
    "warmup from zero": lambda o: lr_scheduler.LambdaLR(o, lambda step: step / 4),
    "warmup and cosine": lambda o: lr_scheduler.SequentialLR(
        o,
        [
            lr_scheduler.LinearLR(o, start_factor=0.1, total_iters=3),
            lr_scheduler.CosineAnnealingLR(o, T_max=5),
        ],
        milestones=[3],
    ),
    "steps": lambda o: lr_scheduler.StepLR(o, 2),
    "OneCycleLR with a list": lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=[group["lr"] for group in o.param_groups], total_steps=10
    ),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, total_iters=6),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_by_a_factor_keep_the_ratios(name):
    optimizer = adamw()
    scheduler = SCHEDULES[name](optimizer)
    T.verify(optimizer)
    T.verify(scheduler)  # whose optimizer it is
    for _ in stepped(optimizer, scheduler, 8):
        T.verify(optimizer)


@given(st.floats(1e-12, 1e6), NUMBER, NUMBER, st.booleans())
@settings(max_examples=50, deadline=None)
def test_any_multiples_of_the_base_are_right(lr, weight_decay, eps, decay_vectors):
    groups = T.groups(mlp(), lr, weight_decay, eps, decay_vectors=decay_vectors)
    T.verify(torch.optim.AdamW(groups))


@given(st.integers(0, 4), st.sampled_from(["lr", "weight_decay", "eps"]), st.floats(1e-5, 10))
@settings(max_examples=50, deadline=None)
def test_any_other_number_is_found(at, name, by):
    optimizer = adamw()
    before = optimizer.param_groups[at][name]
    optimizer.param_groups[at][name] = before * (1 + by) if before else by
    refused(optimizer, f"the {name} of")


def test_learning_rates_may_be_tensors():
    groups = T.groups(mlp(), torch.tensor(1e-3 / 3))
    T.verify(torch.optim.AdamW(groups, foreach=False))


def test_a_state_dict_keeps_the_groups():
    optimizer = adamw()
    other = adamw(lr=0.5, weight_decay=0)
    other.load_state_dict(optimizer.state_dict())
    T.verify(other)


def test_a_flat_state_dict_keeps_the_groups():
    """As torchtitan writes it, by parameters: each has what its group has."""
    model, other = mlp(), mlp()
    made = [torch.optim.AdamW(T.groups(m, lr=lr)) for m, lr in ((model, 0.01), (other, 0.5))]
    options = StateDictOptions(flatten_optimizer_state_dict=True)
    state = get_optimizer_state_dict(model, made[0], options=options)
    assert state["param_groups.2.weight.name"] == "hidden weight"
    set_optimizer_state_dict(other, made[1], state, options=options)
    T.verify(made[1])
    assert made[1].param_groups[2]["lr"] == 0.0025


def test_groups_of_frozen_models_are_right():
    model = mlp()
    model[2].requires_grad_(False)
    T.verify(torch.optim.AdamW(T.groups(model, lr=0.01)))


# What sets them equal


def test_one_cycle_with_one_number_is_found():
    optimizer = adamw()
    lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=10)
    refused(
        optimizer, "all 5 groups have the same lr", "OneCycleLR(max_lr=number)", "Give it a list"
    )


def test_a_cosine_with_a_floor_is_found_with_its_floor():
    optimizer = adamw()
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=4, eta_min=1e-3)
    T.verify(optimizer)
    for _ in stepped(optimizer, scheduler, 4):
        refused(optimizer, f"{ANNEALED}0.001", "CosineAnnealingLR(eta_min=number)")


def test_a_floor_of_a_plateau_is_found():
    optimizer = adamw()
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, min_lr=1e-3)
    for _ in range(3):
        scheduler.step(1.0)
    assert optimizer.param_groups[0]["lr"] == 2.5e-3
    refused(optimizer, f"{ANNEALED}0.001", "ReduceLROnPlateau(min_lr=number)")
    optimizer = adamw()
    floors = [group["lr"] / 10 for group in optimizer.param_groups]
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, min_lr=floors)
    for _ in range(8):
        scheduler.step(1.0)
        T.verify(optimizer)


def test_a_cycle_with_one_number_is_found():
    optimizer = adamw()
    lr_scheduler.CyclicLR(optimizer, base_lr=1e-3, max_lr=1e-2, cycle_momentum=False)
    refused(optimizer, "Their initial_lr is one number too", "CyclicLR(base_lr=number)")


def test_a_loop_that_sets_one_number_is_found():
    optimizer = adamw()
    for group in optimizer.param_groups:
        group["lr"] = 3e-4
    refused(
        optimizer,
        "all 5 groups have the same lr, 0.0003",
        "A loop or a scheduler may have set one number",
    )


def test_a_group_that_was_changed_is_named_with_what_is_planned():
    optimizer = adamw()
    optimizer.param_groups[3]["lr"] = 0.01
    refused(optimizer, "the lr of the group 'readout' is 0.01", "plans 0.0025")


def test_a_decay_that_was_set_for_all_is_found():
    optimizer = adamw()
    for group in optimizer.param_groups:
        group["weight_decay"] = 0.1
    refused(
        optimizer,
        "the weight_decay of the group 'vectors eps ×0.25' is 0.1, but the transfer plans 0",
    )
    optimizer = adamw()
    for group in optimizer.param_groups:
        group["eps"] = 1e-8
    refused(optimizer, "all 5 groups have the same eps", "t.groups(model, eps=...)")


def test_a_learning_rate_that_is_no_number_is_found():
    optimizer = adamw()
    optimizer.param_groups[1]["lr"] = float("nan")
    refused(optimizer, "the lr of the group 'vectors eps ×0.25' is nan")


# Other groups


def test_an_optimizer_of_all_parameters_is_refused():
    refused(torch.optim.AdamW(mlp().parameters()), "none of the optimizer's 1 groups", "t.groups")


def test_parameters_that_were_added_later_are_counted():
    optimizer, head = adamw(), nn.Linear(5, 7)
    optimizer.add_param_group({"params": list(head.parameters())})
    refused(optimizer, "a group holds 2 parameters of shape (7, 5), (7,)", "added later")
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "name": "mine"})
    refused(optimizer, "2 groups ('mine') hold 3 parameters")


def test_groups_of_another_model_are_refused():
    wide = by_hand(mlp(32), MLP)
    optimizer = torch.optim.AdamW(wide.groups(mlp(32), lr=0.01))
    refused(optimizer, "'input weight' holds a parameter of shape (32, 8)", "another model")


def test_a_parameter_in_another_group_is_found():
    optimizer = adamw()
    first, second = optimizer.param_groups[0], optimizer.param_groups[2]
    first["params"], second["params"] = second["params"], first["params"]
    refused(optimizer, "of shape (16, 16), which belongs in 'hidden weight'")
    optimizer = adamw()
    vectors = optimizer.param_groups[1]["params"]
    vectors.append(nn.Parameter(vectors[0].detach().clone()))
    refused(
        optimizer,
        "holds 3 parameters of shape (16,), but the plan has 2 in this group",
    )


# Other optimizers


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda groups: torch.optim.SGD(groups, lr=0.1), "optimizer='sgd'"),
        (torch.optim.Adafactor, "Adafactor, but the transfer was made for AdamW"),
        (
            torch.optim.Adagrad,
            "the size of its updates may depend on the width differently; use AdamW",
        ),
        (torch.optim.Adam, "acts on the gradient in Adam and on the parameter in AdamW"),
    ],
)
def test_optimizers_of_other_kinds_are_refused(made, said):
    refused(made(T.groups(mlp(), lr=0.01, weight_decay=0.1)), said)


def test_adam_without_decay_is_adamw():
    T.verify(torch.optim.Adam(T.groups(mlp(), lr=0.01)))
    T.verify(torch.optim.Adam(T.groups(mlp(), 0.01, 0.1), decoupled_weight_decay=True))


def named(name, groups):
    """An optimizer of another package, known by its name."""
    return type(name, (torch.optim.Optimizer,), {})(groups, {})


def test_optimizers_of_other_packages_are_known_by_name():
    groups = T.groups(mlp(), 0.01, 0.1)
    for name in ("AdamW8bit", "FusedAdam", "DeepSpeedCPUAdam"):
        T.verify(named(name, groups))
    refused(named("Lion", groups), "the optimizer is Lion")


def test_each_of_two_optimizers_has_its_own_groups():
    t = by_hand(mlp(), {**MLP, "2.weight": factors(lr=0.5, optimizer="muon")}, "muon")
    muon, rest = (t.groups(mlp(), lr=0.01, optimizer=name) for name in ("muon", "adamw"))
    refused(torch.optim.AdamW(muon), "'hidden weight' is meant for Muon", "optimizer='adamw'", t=t)
    refused(named("Muon", rest), "is meant for AdamW", "optimizer='muon'", t=t)
    refused(torch.optim.SGD(rest), "made for Muon and AdamW", t=t)


# Wrapped optimizers


def test_wrapped_optimizers_are_looked_into():
    T.verify(SimpleNamespace(optimizer=adamw()))
    broken = adamw()
    broken.param_groups[0]["lr"] = 1.0
    refused(SimpleNamespace(param_groups=broken.param_groups, optim=broken), "'input weight' is 1")
    refused(SimpleNamespace(optimizer=broken), "'input weight' is 1")


def test_the_optimizer_of_accelerate_is_looked_into():
    accelerate = pytest.importorskip("accelerate")
    optimizer = accelerate.Accelerator(cpu=True).prepare(adamw())
    assert type(optimizer).__name__ == "AcceleratedOptimizer"
    T.verify(optimizer)
    optimizer.param_groups[0]["lr"] = 1.0
    refused(optimizer, "'input weight' is 1")


@pytest.mark.parametrize("given", [mlp(), None, [adamw()]])
def test_what_has_no_groups_is_refused(given):
    with pytest.raises(ArgumentError, match=re.escape("expected a torch.optim.Optimizer")):
        T.verify(given)


def test_it_holds_after_training():
    model = mlp()
    optimizer = torch.optim.AdamW(T.groups(model, lr=0.01, weight_decay=0.1))
    losses = train(model, optimizer, 20, schedule=SCHEDULES["warmup from zero"](optimizer))
    assert losses[-1] < losses[0]
    T.verify(optimizer)
