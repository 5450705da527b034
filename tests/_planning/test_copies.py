"""Frozen copies are told from what only looks equal."""

import copy

import torch
from safetensors.torch import load_file
from torch import nn

import isoinit
from isoinit._planning.copies import copies_of


class Critic(nn.Module):
    """An online network, a target that starts as its copy, and a frozen encoder of its own."""

    def __init__(self):
        super().__init__()
        self.online = nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 2))
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.encoder = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6)).requires_grad_(False)

    def forward(self, x):
        x = self.encoder(x)
        with torch.no_grad():
            goal = self.target(x)
        return self.online(x) - goal


X = torch.randn(8, 6)


def test_every_parameter_of_a_copy_is_one_and_no_other_is():
    model = Critic()
    known = dict(model.named_parameters())
    frozen = [name for name, p in known.items() if not p.requires_grad]
    found = copies_of(known, frozen)
    assert found == {n: n.replace("target", "online") for n in known if n.startswith("target")}


def test_a_copy_stays_a_copy():
    model = Critic()
    encoder = copy.deepcopy(model.encoder.state_dict())
    plan = isoinit.init(model, X, seed=3)
    assert not plan.warnings
    for online, target in zip(model.online.parameters(), model.target.parameters(), strict=True):
        assert torch.equal(online, target)
    assert all(torch.equal(v, model.encoder.state_dict()[k]) for k, v in encoder.items())
    assert plan.kept["target.0.weight"] == "kept: a copy of 'online.0.weight', which it follows"
    assert plan["target.0.weight"].copies == "online.0.weight"
    again = isoinit.Plan.from_json(plan.to_json())
    assert again == plan
    assert again.digest == plan.digest


def test_a_copy_follows_an_override():
    model = Critic()
    plan = isoinit.plan(model, X)
    plan["online.0.weight"] = isoinit.Orthogonal()
    plan.apply(model, seed=1)
    assert torch.equal(model.online[0].weight, model.target[0].weight)
    plan["target.0.weight"] = isoinit.Normal(std=0.1)
    plan.apply(model, seed=1)
    assert not torch.equal(model.online[0].weight, model.target[0].weight)
    assert "target.0.weight" not in plan.kept


def test_a_checkpoint_holds_the_same(tmp_path):
    model = Critic()
    plan = isoinit.plan(model, X)
    isoinit.write_checkpoint(plan, model, tmp_path, seed=5)
    (file,) = tmp_path.glob("*.safetensors")
    written = load_file(file)
    plan.apply(model, seed=5)
    assert all(torch.equal(written[name], v) for name, v in model.state_dict().items())
    kept = {name for name, entry in plan.entries.items() if entry.initializer is None}
    assert kept == {name for name in plan.entries if name.startswith("encoder")}
