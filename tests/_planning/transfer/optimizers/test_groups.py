"""Groups for the optimizer: of any wrapped or sharded model, and what is refused."""

import math

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

import isoinit
from isoinit._planning.transfer.transfers import Transfer
from isoinit.errors import ArgumentError, PlanError
from ranks import on_ranks
from transferred import MLP, NAMES, batch, by_hand, factors, mlp, mlp_transfer, train

T = mlp_transfer()
CPU = torch.device("cpu")


def facts(groups):
    """The groups without their parameters, but for how many."""
    return [{**group, "params": len(group["params"])} for group in groups]


def test_groups_multiply_what_the_base_has():
    model = mlp()
    groups = T.groups(model, lr=0.01, weight_decay=0.1, eps=1e-8)
    assert facts(groups) == [
        {"params": 1, "name": "input weight", "lr": 0.01, "weight_decay": 0.1, "eps": 2.5e-9},
        {"params": 2, "name": "vectors eps ×0.25", "lr": 0.01, "weight_decay": 0.0, "eps": 2.5e-9},
        {"params": 1, "name": "hidden weight", "lr": 0.0025, "weight_decay": 0.4, "eps": 2.5e-9},
        {"params": 1, "name": "readout", "lr": 0.0025, "weight_decay": 0.4, "eps": 1e-8},
        {"params": 1, "name": "vector eps ×1", "lr": 0.01, "weight_decay": 0.0, "eps": 1e-8},
    ]
    assert groups[1]["params"][0] is model[0].bias
    assert groups[1]["params"][1] is model[2].bias


def test_vectors_decay_if_asked_to():
    groups = T.groups(mlp(), lr=0.01, weight_decay=0.1, decay_vectors=True)
    assert all(group["weight_decay"] > 0 for group in groups)
    assert groups[0]["name"] == "input weight, vectors"


def test_sgd_gets_no_epsilon():
    t = by_hand(mlp(), {name: factors(optimizer="sgd") for name in MLP}, "sgd")
    (group,) = t.groups(mlp(), lr=0.1)
    assert group.keys() == {"params", "name", "lr", "weight_decay"}
    torch.optim.SGD([group], momentum=0.9)


def test_frozen_parameters_are_left_out_and_the_names_stay():
    model = mlp()
    model[0].requires_grad_(False)
    groups = T.groups(model, lr=0.01)
    assert [group["name"] for group in groups] == NAMES[1:]
    assert len(groups[0]["params"]) == 1


def test_a_part_of_the_model_has_groups_of_the_same_names():
    stage = nn.Sequential()
    stage.add_module("4", mlp()[4])
    assert [group["name"] for group in T.groups(stage, lr=0.01)] == NAMES[3:]


def test_names_survive_the_state_dict():
    optimizer = torch.optim.AdamW(T.groups(mlp(), lr=0.01))
    other = torch.optim.AdamW(T.groups(mlp(), lr=0.5))
    other.load_state_dict(optimizer.state_dict())
    assert [group["name"] for group in other.param_groups] == NAMES
    assert other.param_groups[2]["lr"] == 0.0025


def test_a_learning_rate_may_be_a_tensor():
    lr = torch.tensor(0.01)
    groups = T.groups(mlp(), lr=lr)
    assert [type(group["lr"]) for group in groups] == [torch.Tensor] * 5
    assert groups[2]["lr"].item() == pytest.approx(0.0025)
    assert len({id(group["lr"]) for group in groups} | {id(lr)}) == 6  # each schedules its own
    model = mlp()
    losses = train(model, torch.optim.AdamW(T.groups(model, lr=lr), foreach=False))
    plain = mlp()
    expected = train(plain, torch.optim.AdamW(T.groups(plain, lr=0.01)))
    assert losses == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 0),
        ("lr", -1),
        ("lr", math.nan),
        ("lr", math.inf),
        ("lr", True),
        ("lr", "1e-3"),
        ("lr", torch.tensor([0.1, 0.1])),
        ("lr", torch.tensor(1)),
        ("lr", torch.tensor(math.nan)),
        ("weight_decay", -0.1),
        ("weight_decay", math.inf),
        ("weight_decay", torch.tensor(0.1)),
        ("eps", -1e-8),
        ("eps", None),
    ],
)
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(ArgumentError, match=f"^{name}=.*expected a finite number"):
        T.groups(mlp(), **{"lr": 0.1, name: value})


# Wrapped models


def test_wrapped_models_have_the_same_groups():
    model = mlp()
    expected = facts(T.groups(model, lr=0.01))
    assert facts(T.groups(torch.compile(model), lr=0.01)) == expected
    layers = mlp()
    layers[2] = torch.compile(layers[2])
    assert facts(T.groups(layers, lr=0.01)) == expected
    assert facts(T.groups(nn.DataParallel(mlp()), lr=0.01)) == expected


@pytest.mark.parametrize("kind", [{"foreach": True}, {"fused": True}])
def test_fused_and_foreach_train_alike(kind):
    plain, other = mlp(dtype=torch.float64), mlp(dtype=torch.float64)
    losses = [
        train(model, torch.optim.AdamW(T.groups(model, 0.01, 0.1), **how), 8, dtype=torch.float64)
        for model, how in ((plain, {"foreach": False}), (other, kind))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_a_compiled_model_trains_alike():
    plain, other = mlp(dtype=torch.float64), mlp(dtype=torch.float64)
    compiled = torch.compile(other, backend="aot_eager")
    losses = [
        train(model, torch.optim.AdamW(T.groups(model, 0.01, 0.1)), 8, dtype=torch.float64)
        for model in (plain, compiled)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def wrapped(model, how):
    if how == "ddp":
        return DistributedDataParallel(model)
    if how == "fsdp1":
        return FullyShardedDataParallel(model, use_orig_params=True, device_id=CPU)
    for layer in (model[0], model[2]):
        fully_shard(layer)
    return fully_shard(model)


def on_rank(rank, how):
    torch.set_num_threads(1)
    t, model = mlp_transfer(), wrapped(mlp(dtype=torch.float64), how)
    groups = t.groups(model, lr=0.01, weight_decay=0.1)
    optimizer = torch.optim.AdamW(groups)
    t.verify(optimizer)
    norms = []
    losses = train(
        model,
        optimizer,
        clip=lambda model: norms.append(t.clip_grad_norm_(model, 0.1).item()),
        dtype=torch.float64,
    )
    t.verify(optimizer)
    return [group["name"] for group in optimizer.param_groups], losses, norms


@pytest.mark.parametrize("how", ["ddp", "fsdp1", "fsdp2"])
def test_sharded_models_train_as_the_model_on_one_process(how):
    model, norms = mlp(dtype=torch.float64), []
    optimizer = torch.optim.AdamW(T.groups(model, lr=0.01, weight_decay=0.1))
    expected = train(
        model,
        optimizer,
        clip=lambda model: norms.append(T.clip_grad_norm_(model, 0.1).item()),
        dtype=torch.float64,
    )
    for names, losses, found in on_ranks(2, on_rank, how):
        assert names == NAMES
        assert losses == pytest.approx(expected, rel=1e-9)
        assert found == pytest.approx(norms, rel=1e-9)


def on_two_meshes(rank):
    """The first layer on a mesh of both ranks, the second on another one, the third whole."""
    torch.set_num_threads(1)
    t, model = mlp_transfer(), mlp(dtype=torch.float64)
    fully_shard(model[0], mesh=init_device_mesh("cpu", (2,)))
    fully_shard(model[2], mesh=init_device_mesh("cpu", (1, 2), mesh_dim_names=("copies", "parts")))
    optimizer = torch.optim.AdamW(t.groups(model, lr=0.01, weight_decay=0.1), foreach=True)
    t.verify(optimizer)
    clip = lambda model: t.clip_grad_norm_(model, 0.1)  # noqa: E731
    losses = train(model, optimizer, clip=clip, dtype=torch.float64)
    return [group["name"] for group in optimizer.param_groups], losses


def test_parameters_on_several_meshes_have_groups_of_their_own():
    model = mlp(dtype=torch.float64)
    optimizer = torch.optim.AdamW(T.groups(model, lr=0.01, weight_decay=0.1))
    clip = lambda model: T.clip_grad_norm_(model, 0.1)  # noqa: E731
    expected = train(model, optimizer, clip=clip, dtype=torch.float64)
    for names, losses in on_ranks(2, on_two_meshes):
        second = f"{NAMES[1]} (mesh 2)"
        third = [f"{name} (mesh 3)" for name in NAMES[3:]]
        assert names == [NAMES[0], NAMES[1], second, f"{NAMES[2]} (mesh 2)", *third]
        assert losses == pytest.approx(expected, rel=1e-9)


def flat_on_rank(rank):
    model = FullyShardedDataParallel(mlp(), device_id=CPU)
    with pytest.raises(PlanError, match="use_orig_params=True"):
        mlp_transfer().groups(model, lr=0.01)


def test_flat_parameters_are_refused():
    on_ranks(1, flat_on_rank)


# Two optimizers


def muon_transfer(optimizer="muon"):
    given = {**MLP, "2.weight": factors(lr=0.5, eps=2, optimizer="muon")}
    return by_hand(mlp(), given, optimizer)


def test_muon_trains_the_hidden_matrices_and_adamw_the_rest():
    t, model = muon_transfer(), mlp()
    muon = t.groups(model, lr=0.02, eps=1e-7, optimizer="muon")
    rest = t.groups(model, lr=0.01, optimizer="adamw")
    (group,) = muon
    assert group.pop("params") == [model[2].weight]
    assert group == {
        "name": "hidden weight",
        "lr": 0.01,
        "weight_decay": 0.0,
        "eps": 2e-7,
        "adjust_lr_fn": "original",
    }
    group["params"] = [model[2].weight]
    assert sum(len(group["params"]) for group in rest) == 5
    for made in (torch.optim.Muon(muon), torch.optim.AdamW(rest)):
        t.verify(made)


def test_muon_adjusts_its_learning_rate_as_planned():
    t, model = muon_transfer("muon:match_rms_adamw"), mlp()
    muon = torch.optim.Muon(t.groups(model, lr=0.02, optimizer="muon"))
    assert muon.param_groups[0]["adjust_lr_fn"] == "match_rms_adamw"
    t.verify(muon)
    with pytest.raises(PlanError, match=r"by 'match_rms_adamw', .* for 'original'. .*'muon:match"):
        muon_transfer().verify(muon)
    other = torch.optim.Muon([model[2].weight], lr=0.01)
    other.param_groups[0]["name"] = "hidden weight"
    with pytest.raises(PlanError, match=r"by 'original', .* for 'match_rms_adamw'. .*'muon'"):
        t.verify(other)


@pytest.mark.parametrize("asked", [None, "sgd"])
def test_neither_of_two_optimizers_is_refused_with_both_lines(asked):
    with pytest.raises(ArgumentError) as error:
        muon_transfer().groups(mlp(), lr=0.01, optimizer=asked)
    assert 'torch.optim.Muon(t.groups(model, lr=..., optimizer="muon"))' in str(error.value)
    assert 'torch.optim.AdamW(t.groups(model, lr=..., optimizer="adamw"))' in str(error.value)


def test_another_optimizer_is_refused():
    T.groups(mlp(), lr=0.01, optimizer="adamw")
    with pytest.raises(ArgumentError, match="this transfer is for 'adamw'"):
        T.groups(mlp(), lr=0.01, optimizer="lion")


# Other models


def test_a_model_of_other_shapes_is_refused():
    with pytest.raises(
        PlanError, match=r"'0.weight' has shape \(32, 8\), but \(16, 8\) in the plan"
    ):
        T.groups(mlp(32), lr=0.01)


def test_another_model_is_refused():
    with pytest.raises(PlanError, match=r"trains 'weight_ih_l0', .*made for another model"):
        T.groups(nn.GRU(8, 16), lr=0.01)


def test_a_parameter_that_was_added_later_is_named():
    model = mlp()
    model.append(nn.Linear(3, 3))
    with pytest.raises(PlanError, match=r"trains '5.weight', .*If it was added later"):
        T.groups(model, lr=0.01)
    model[5].requires_grad_(False)
    assert facts(T.groups(model, lr=0.01)) == facts(T.groups(mlp(), lr=0.01))


def test_the_model_around_and_the_model_inside_are_told():
    around = nn.ModuleDict({"net": mlp()})
    with pytest.raises(PlanError, match="made for its submodule 'net'"):
        T.groups(around, lr=0.01)
    with pytest.raises(
        PlanError, match=r"the module that contains this one .it has 'net.0.weight'"
    ):
        by_hand(around, {}).groups(mlp(), lr=0.01)


def tied():
    model = mlp()
    model[0] = nn.Linear(16, 16)
    model[0].weight = model[2].weight
    return model


def test_parameters_that_are_tied_no_more_are_refused():
    t, parted = by_hand(tied(), {}), tied()
    assert len(t.groups(tied(), lr=0.01)[0]["params"]) == 5
    parted[0].weight = nn.Parameter(parted[2].weight.detach().clone())
    with pytest.raises(PlanError, match=r"'2\.weight' was tied to '0\.weight'"):
        t.groups(parted, lr=0.01)
    with pytest.raises(PlanError, match=r"'2\.weight' is tied to '0\.weight', but was not"):
        by_hand(parted, {}).groups(tied(), lr=0.01)


def test_meta_parameters_are_refused_until_the_plan_is_applied():
    with torch.device("meta"):
        model = mlp()
    with pytest.raises(PlanError, match=r"'0\.weight' is on the meta device"):
        T.groups(model, lr=0.01)
    T.plan.apply(model, seed=0)
    model(batch()[0])
    assert len(T.groups(model, lr=0.01)) == 5


def test_lazy_parameters_are_refused():
    with pytest.raises(PlanError, match="lazy"):
        T.groups(nn.Sequential(nn.LazyLinear(16)), lr=0.01)


def test_a_model_of_which_nothing_is_trained_is_refused():
    with pytest.raises(ArgumentError, match="no parameter of the Sequential is trained"):
        T.groups(mlp().requires_grad_(False), lr=0.01)


def test_what_is_no_model_is_refused():
    with pytest.raises(ArgumentError, match=r"expected a torch\.nn.Module"):
        T.groups(list(mlp().parameters()), lr=0.01)


def test_a_plan_without_factors_is_no_transfer():
    with pytest.raises(PlanError, match=r"expected a plan from isoinit\.transfer"):
        Transfer(isoinit.plan(mlp()))


def test_a_saved_plan_has_the_same_groups(tmp_path):
    T.plan.save(tmp_path / "plan.json")
    loaded = Transfer(isoinit.Plan.load(tmp_path / "plan.json"))
    assert facts(loaded.groups(mlp(), lr=0.01)) == facts(T.groups(mlp(), lr=0.01))
