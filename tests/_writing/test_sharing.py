"""Of parameters that share memory, plan, fingerprint, checkpoint and model agree, or none is made."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import isoinit
from isoinit._writing.apply import fill_parameters
from isoinit.errors import ArgumentError, PlanError

SEED = 3


class Two(nn.Module):
    """Parameters by name, each multiplied with the input."""

    def __init__(self, **tensors):
        super().__init__()
        for name, tensor in tensors.items():
            self.register_parameter(name, nn.Parameter(tensor))

    def forward(self, x):
        for weight in self._parameters.values():
            x = torch.tanh(x @ weight)
        return x


def flat(count, device):
    return torch.randn(count, device=device)


def same(device):
    weight = flat(36, device).view(6, 6)
    return Two(a=weight, b=weight)


def disjoint(device):
    memory = flat(72, device)
    return Two(a=memory[:36].view(6, 6), b=memory[36:].view(6, 6))


def rows(device):
    memory = flat(72, device).view(12, 6)
    return Two(a=memory[0::2], b=memory[1::2])


def columns(device):
    memory = flat(72, device).view(6, 12)
    return Two(a=memory[:, :6], b=memory[:, 6:])


def empty(device):
    memory = flat(0, device).view(6, 0)
    return Two(a=flat(36, device).view(6, 6), b=memory, c=memory.t())


def turned(device):
    weight = flat(36, device).view(6, 6)
    return Two(a=weight, b=weight.t())


def overlapping(device):
    memory = flat(60, device)
    return Two(a=memory[:36].view(6, 6), b=memory[24:].view(6, 6))


def crossing_columns(device):
    memory = flat(72, device).view(6, 12)
    return Two(a=memory[:, :6], b=memory[:, 5:11])


def expanded(device):
    return Two(a=flat(6, device).view(6, 1).expand(6, 6))


def windows(device):
    return Two(a=flat(20, device).as_strided((6, 6), (2, 1)))


def planned(model):
    normal = isoinit.Normal(std=0.1)
    return isoinit.plan(model, overrides={name: normal for name, _ in model.named_parameters()})


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("build", [same, disjoint, rows, columns, empty])
def test_plan_checkpoint_fingerprint_and_model_agree(build, device, tmp_path):
    model, again = build(device), build("cpu")
    plan = planned(model)
    assert not any("memory" in warning for warning in plan.warnings)
    isoinit.write_checkpoint(plan, model, tmp_path / "c", seed=SEED)
    plan.apply(model, seed=SEED)
    assert isoinit.fingerprint(model) == plan.fingerprint(SEED)
    again.load_state_dict(load_file(tmp_path / "c" / "model.safetensors"), strict=False)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_one_memory_is_one_entry(device):
    model = same(device)
    plan = planned(model)
    assert (list(plan.entries), plan.aliases) == (["a"], {"b": "a"})
    plan.apply(model, seed=SEED)
    assert torch.equal(model.a, model.b)
    assert model.a.data_ptr() == model.b.data_ptr()


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("build", [turned, overlapping, crossing_columns, expanded, windows])
def test_all_else_is_refused_before_the_first_write(build, device, tmp_path):
    model = build(device)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plan = planned(model)
    assert any("apply will raise an error" in warning for warning in plan.warnings)
    words = "'a' and 'b' share memory" if "b" in before else "has elements that share memory"
    with pytest.raises(PlanError, match=words):
        plan.apply(model, seed=SEED)
    with pytest.raises(PlanError, match=words):
        isoinit.write_checkpoint(plan, model, tmp_path / "c", seed=SEED)
    assert not (tmp_path / "c").exists()
    if device == "cpu":
        assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_what_is_kept_may_share_memory():
    model = overlapping("cpu")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.register_parameter("c", nn.Parameter(torch.zeros(6, 6)))
    before = model.a.clone()
    isoinit.plan(model, overrides={"c": isoinit.Normal(std=0.1)}).apply(model, seed=SEED)
    assert torch.equal(model.a, before)


def test_fill_refuses_too():
    model = overlapping("cpu")
    with pytest.raises(PlanError, match="share memory"):
        fill_parameters(planned(model).entries, dict(model.named_parameters()), SEED)


def test_a_buffer_over_a_parameter_is_stored_with_it(tmp_path):
    model = Two(a=torch.randn(6, 6))
    model.register_buffer("view", model.a.data)
    plan = planned(model)
    isoinit.write_checkpoint(plan, model, tmp_path / "c", seed=SEED)
    assert list(load_file(tmp_path / "c" / "model.safetensors")) == ["a"]
    model.view = model.a.data[0]
    with pytest.raises(PlanError, match="'a' and 'view' share memory"):
        isoinit.write_checkpoint(plan, model, tmp_path / "d", seed=SEED)


def test_both_places_of_one_memory_are_read():
    # Each layer is seen under the one name, as layers that share a Parameter are.
    by_memory, by_object = (
        nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)) for _ in range(2)
    )
    by_memory[2].weight.data = by_memory[0].weight.data
    by_object[2].weight = by_object[0].weight
    plans = [isoinit.plan(model, torch.randn(16, 8)) for model in (by_memory, by_object)]
    assert plans[0].aliases == plans[1].aliases
    assert plans[0].digest == plans[1].digest
    isoinit.check(plans[0].apply(by_memory, seed=0), torch.randn(16, 8))
    assert by_memory[2].weight.data_ptr() == by_memory[0].weight.data_ptr()


@pytest.mark.parametrize("view", [torch.conj, torch._neg_view])
def test_views_that_are_read_otherwise_hold_what_is_planned(view):
    model = nn.Linear(6, 6, bias=False, dtype=torch.complex64)
    model.weight = nn.Parameter(view(torch.randn(6, 6, dtype=torch.complex64)))
    plan = isoinit.plan(model, overrides={"weight": isoinit.Normal(std=0.1)})
    plan.apply(model, seed=SEED)
    assert isoinit.fingerprint(model) == plan.fingerprint(SEED)


def test_a_part_of_a_tensor_beyond_32_bits_is_the_same_by_any_cut():
    shape, seed = (70_000, 70_000), 5  # 4.9e9 elements, of which a few are drawn
    normal = isoinit.Normal(std=1.0)

    def drawn(*slices):
        sizes = [part.stop - part.start for part in slices]
        return isoinit.fill_slice(torch.empty(sizes), normal, "w", shape, slices, seed)

    block = drawn(slice(69_990, 70_000), slice(69_000, 70_000))
    row = drawn(slice(69_995, 69_996), slice(69_500, 70_000))
    first = 69_995 * 70_000 + 69_500
    run = isoinit.fill_slice(torch.empty(500), normal, "w", shape, slice(first, first + 500), seed)
    assert torch.equal(block[5:6, 500:], row)
    assert torch.equal(row[0], run)
    low = first % 2**32  # where an index of 32 bits would read
    wrapped = isoinit.fill_slice(torch.empty(500), normal, "w", shape, slice(low, low + 500), seed)
    assert not torch.equal(run, wrapped)
    with torch.device("meta"):
        model = nn.Linear(70_000, 70_000)
    assert isoinit.plan(model, torch.zeros(1, 70_000, device="meta"))["weight"].shape == shape


def test_an_array_over_itself_is_refused():
    windows = np.lib.stride_tricks.as_strided(np.zeros(8, np.float32), (4, 4), (4, 4))
    with pytest.raises(PlanError, match="elements of out share memory"):
        isoinit.fill_slice(windows, isoinit.Normal(), "w", (4, 4), ())
    whole, turned = np.zeros((4, 4), np.float32), np.zeros((4, 8), np.float32)[::-1, ::-2]
    for out in (whole, turned):
        isoinit.fill_slice(out, isoinit.Normal(), "w", (4, 4), ())
    assert np.array_equal(whole, turned)


def test_more_elements_than_can_be_counted_are_refused():
    with pytest.raises(ArgumentError, match=r"at most 2\*\*63 - 1"):
        isoinit.fill_slice(
            torch.empty(1, 1), isoinit.Normal(), "w", (2**32, 2**31), (slice(1), slice(1))
        )


def test_a_tensor_that_computes_its_values_is_kept():
    from torch.testing._internal.two_tensor import TwoTensor

    model = nn.Linear(4, 4)
    model.weight = nn.Parameter(TwoTensor(torch.randn(4, 4), torch.randn(4, 4)))
    plan = isoinit.plan(model)
    assert "a TwoTensor, which computes its values, is not drawn" in plan.kept["weight"]
    before = model.weight.a.clone()
    plan.apply(model, seed=SEED)
    assert torch.equal(model.weight.a, before)
    with pytest.raises(PlanError, match="'weight' is a TwoTensor"):
        isoinit.fingerprint(model)
    plan["weight"] = isoinit.Normal()
    with pytest.raises(PlanError, match="expected a plain tensor"):
        plan.apply(model, seed=SEED)
