"""A plan in the places where trainers initialize: torchtitan's hook, and accelerate."""

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import isoinit
from ranks import on_ranks

TOKENS = torch.arange(32).reshape(2, 16) % 8


class Decoder(nn.Module):
    """With a buffer and a method `init_weights(buffer_device)`, as in torchtitan."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(8, 16)
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.output = nn.Linear(16, 8)
        self.register_buffer("decay", 0.99 ** torch.arange(16), persistent=False)

    def forward(self, tokens):
        x = self.embedding(tokens) * self.decay[:, None]
        for layer in self.layers:
            x = x + torch.relu(layer(x))
        return self.output(x)

    def init_weights(self, buffer_device=None):
        with torch.device(buffer_device or self.decay.device):
            self.decay = 0.99 ** torch.arange(16)
        for parameter in self.parameters():
            nn.init.normal_(parameter)


def on_meta():
    with torch.device("meta"):
        return Decoder()


def hooked(rank):
    """As torchtitan's trainer does: shard, give memory, call the hook; then gather."""
    mesh = init_device_mesh("cpu", (2,))
    model = on_meta()
    plan = isoinit.plan(model, TOKENS)
    model.init_weights = lambda buffer_device=None: plan.apply(model, seed=0, buffers=Decoder)
    for layer in model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model.to_empty(device="cpu")
    with torch.no_grad():
        model.init_weights(buffer_device="cpu")
    values = {name: p.full_tensor().tolist() for name, p in model.named_parameters()}
    return values, model.decay.tolist(), str(isoinit.fingerprint(model))


def test_the_hook_of_torchtitan_on_two_ranks_gives_what_one_process_gets():
    whole = Decoder()
    plan = isoinit.plan(on_meta(), TOKENS)
    plan.apply(whole, seed=0)
    for values, decay, fingerprint in on_ranks(2, hooked):
        assert values == {name: p.tolist() for name, p in whole.named_parameters()}
        assert decay == Decoder().decay.tolist()
        assert fingerprint == str(plan.fingerprint(seed=0))


@pytest.fixture
def accelerate():
    package = pytest.importorskip("accelerate")
    yield package
    package.state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_model_that_accelerate_prepared(accelerate, precision):
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision=precision)
    model = accelerator.prepare(Decoder())
    plan = isoinit.init(model, TOKENS, seed=0)
    plain = Decoder()
    isoinit.init(plain, TOKENS, seed=0)
    assert isoinit.fingerprint(model) == isoinit.fingerprint(plain) == plan.fingerprint(seed=0)
    batch = TOKENS.repeat(8, 1), TOKENS[:, 0].repeat(8)
    health = isoinit.check(model, batch, loss=lambda o, y: nn.functional.cross_entropy(o[:, 0], y))
    assert [layer.name for layer in health.layers][:2] == ["layers.0", "layers.1"]
    assert health.ok


@pytest.mark.parametrize("buffers", [True, False])
def test_a_model_from_init_empty_weights(accelerate, buffers):
    with accelerate.init_empty_weights(include_buffers=buffers):
        model = Decoder()
    plan = isoinit.plan(model, TOKENS)
    plan.apply(model, seed=0, buffers=Decoder)
    prepared = accelerate.Accelerator(cpu=True).prepare(model)
    assert isoinit.fingerprint(prepared) == plan.fingerprint(seed=0)
    assert torch.equal(prepared.decay, Decoder().decay)
    assert prepared(TOKENS).isfinite().all()
