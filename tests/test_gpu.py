"""What every verb makes of a model on a GPU is what it makes on the processor. Needs a GPU."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import GPT2Config, GPT2LMHeadModel

import isoinit
from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream
from isoinit._writing.fill import fill_tensor
from isoinit.initializers.scale import fans

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.lstm = nn.Embedding(50, 32), nn.LSTM(32, 64, 2, batch_first=True)
        self.head = nn.Linear(64, 50)

    def forward(self, tokens):
        return self.head(self.lstm(self.table(tokens))[0])


class Unknown(nn.Module):
    """For which no example can be made, so that it is read from its modules."""

    def __init__(self):
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, x, y):
        return self.down(self.norm(self.up(x[y.places])))


def gpt2():
    sizes = {"n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 300}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def convnet():
    start = nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()
    end = nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*start, *end, nn.Linear(64, 10))


def few_columns():
    return nn.Sequential(
        nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.SELU(), nn.Linear(64, 1)
    )


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def tokens(count, *shape):
    return torch.randint(count, shape, generator=torch.Generator().manual_seed(0))


MODELS = {
    "GPT-2": (gpt2, tokens(300, 2, 32)),
    "LSTM": (Recurrent, tokens(50, 4, 20)),
    "convolutions": (convnet, normal(8, 3, 16, 16)),
    "two columns": (few_columns, 30 * normal(64, 2) + 5),
    "complex": (lambda: nn.Linear(64, 32, dtype=torch.complex64), None),
    "no example": (Unknown, None),
}


def same(model, other):
    found, expected = model.state_dict(), other.state_dict()
    assert list(found) == list(expected)
    assert [name for name in found if not torch.equal(found[name].cpu(), expected[name])] == []


def on_both(name):
    build, batch = MODELS[name]
    here = build()
    there = copy.deepcopy(here).cuda()
    return (here, batch), (there, None if batch is None else batch.cuda())


@pytest.mark.parametrize("name", MODELS)
def test_a_plan_and_its_weights(name):
    (here, batch), (there, moved) = on_both(name)
    plan, other = isoinit.plan(here, batch), isoinit.plan(there, moved)
    assert other.to_json() == plan.to_json()
    plan.apply(here, seed=1)
    other.apply(there, seed=1)
    same(there, here)
    assert isoinit.fingerprint(there) == isoinit.fingerprint(here)


@pytest.mark.parametrize("name", ["GPT-2", "LSTM", "convolutions", "two columns"])
def test_a_check_leaves_all_as_it_was(name):
    (here, batch), (there, moved) = on_both(name)
    before, random = copy.deepcopy(there.state_dict()), torch.cuda.get_rng_state()
    found = [(f.name, f.severity, f.where) for f in isoinit.check(there, moved).findings]
    assert found == [(f.name, f.severity, f.where) for f in isoinit.check(here, batch).findings]
    assert torch.equal(torch.cuda.get_rng_state(), random)
    assert all(torch.equal(value, before[key]) for key, value in there.state_dict().items())


def test_a_calibration_to_within_rounding():
    (here, batch), (there, moved) = on_both("two columns")
    plan, other = (isoinit.plan(m, x).calibrate(m, x) for m, x in ((here, batch), (there, moved)))
    for entry in plan:
        assert other[entry.name].std == pytest.approx(entry.std, rel=1e-4)


@pytest.mark.parametrize("way", ["meta", "deferred"])
def test_models_without_memory(way):
    here, batch = gpt2(), MODELS["GPT-2"][1]
    plan = isoinit.plan(here, batch)
    plan.apply(here, seed=2)
    if way == "meta":
        with torch.device("meta"):
            there = gpt2()
        there.to_empty(device="cuda").tie_weights()
    else:
        with isoinit.deferred(), torch.device("cuda"):
            there = gpt2()
    plan.apply(there, seed=2)
    same(there, here)


def test_distributions():
    here = few_columns()
    there = isoinit.variational.convert(copy.deepcopy(here).cuda(), seed=3)
    here = isoinit.variational.convert(here, seed=3)
    same(there, here)
    x, outputs = normal(8, 2), []
    for model, batch in ((here, x), (there, x.cuda())):
        torch.manual_seed(0)
        outputs.append(model(batch).cpu())
    assert torch.allclose(*outputs, rtol=1e-4, atol=1e-5)


def test_sparse_weights():
    here = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    there = isoinit.sparse.convert(copy.deepcopy(here).cuda(), density=0.2, seed=3)
    here = isoinit.sparse.convert(here, density=0.2, seed=3)
    same(there, here)
    x = normal(8, 64)
    assert torch.allclose(there(x.cuda()).cpu(), here(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("axis", "shape"), [(0, (7000, 33)), (1, (7000, 33)), (1, (40, 9001))])
def test_parts_of_a_parameter(axis, shape):
    """Columns are thousands of short runs: they are cut out of rows that are drawn whole."""
    whole = torch.empty(shape)
    fill_tensor(whole, isoinit.Normal(), fans.linear(shape), Stream(1, "weight"))
    for index, expected in enumerate(whole.chunk(4, axis)):
        piece = Piece.whole(shape).shard(axis, 4, index)
        part = torch.empty(expected.shape, device="cuda")
        fill_tensor(part, isoinit.Normal(), fans.linear(shape), Stream(1, "weight"), piece)
        assert torch.equal(part.cpu(), expected)


def test_sharded_by_nccl(tmp_path):
    here, batch = gpt2(), MODELS["GPT-2"][1]
    plan = isoinit.plan(here, batch)
    plan.apply(here, seed=2)
    torch.cuda.set_device(0)
    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        there = gpt2().cuda()
        for block in there.transformer.h:
            fully_shard(block, mesh=init_device_mesh("cuda", (1,)))
        fully_shard(there, mesh=init_device_mesh("cuda", (1,)))
        plan.apply(there, seed=2)
        for name, parameter in there.named_parameters():
            assert torch.equal(parameter.full_tensor().cpu(), here.get_parameter(name))
        assert isoinit.fingerprint(there) == isoinit.fingerprint(here)
        assert isoinit.check(there, batch.cuda()).ok == isoinit.check(here, batch).ok
    finally:
        dist.destroy_process_group()
