"""The faults that peers.md lists as met in the wild: each rebuilt small, and found or done right."""

import math

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import isoinit
from isoinit import functional
from ranks import on_ranks


def found(audit):
    """The names of the findings, each with where."""
    return {(finding.name, finding.where) for finding in audit.findings}


class Rotary(nn.Module):
    """Its frequencies are a buffer that no checkpoint holds (transformers#48892, #45050, #34234)."""

    def __init__(self):
        super().__init__()
        inv_freq = 1 / 10_000 ** (torch.arange(0, 8, 2) / 8)
        self.register_buffer("inv_freq", inv_freq, persistent=False)


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.rotary, self.proj = Rotary(), nn.Linear(8, 8, bias=False)
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)


def test_frequencies_that_no_checkpoint_holds():
    audit = isoinit.audit(Llama)
    assert not audit.ok
    assert found(audit) == {("never written", ("rotary.inv_freq",))}
    assert "the constructor alone gives a table" in audit.findings[0].sentence


class Tapas(nn.Module):
    """Two parameters that only the constructor fills (transformers#44575)."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8)
        self.output_weights = nn.Parameter(torch.empty(8))
        nn.init.normal_(self.output_weights, std=0.02)
        self.output_bias = nn.Parameter(torch.zeros([]))
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)


def test_parameters_that_only_the_constructor_fills():
    audit = isoinit.audit(Tapas)
    assert found(audit) == {("never written", ("output_weights", "output_bias"))}
    (finding,) = audit.findings
    assert (
        "draws it: output_weights; the constructor alone gives 0: output_bias" in finding.sentence
    )


class Foundry(nn.Module):
    """`_init_weights` knows one kind of norm layer, and the model has another (llm-foundry#1745)."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 8), nn.RMSNorm(8)
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)


def test_a_norm_layer_that_is_skipped():
    assert found(isoinit.audit(Foundry)) == {("never written", ("norm.weight",))}


def sharded(mesh):
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    for layer in model:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def draw(model):
    for parameter in model.parameters():
        nn.init.normal_(parameter)


def draw_alike(model):
    """Each rank draws its part from a generator that every parameter starts anew (torchtitan#3106)."""
    for parameter in model.parameters():
        parameter.to_local().normal_(generator=torch.Generator().manual_seed(0))


def draw_by_place(model):
    """Each rank draws the whole, and keeps its part."""
    for name, parameter in model.named_parameters():
        whole = torch.empty(parameter.shape)
        nn.init.normal_(whole, generator=torch.Generator().manual_seed(sum(name.encode())))
        parts = whole.chunk(dist.get_world_size())
        parameter.to_local().copy_(parts[dist.get_rank()])


NAMES = ("0.weight", "0.bias", "1.weight", "1.bias")
TWINS = {("bit-identical", ("0.weight", "1.weight")), ("bit-identical", ("0.bias", "1.bias"))}


def _on_two_ranks(rank):
    torch.set_num_threads(1)
    mesh = init_device_mesh("cpu", (2,))
    shards = {("identical shards", NAMES)}
    assert found(isoinit.audit(lambda: sharded(mesh), draw)) == shards
    assert found(isoinit.audit(lambda: sharded(mesh), draw, seed=rank)) == set()
    assert found(isoinit.audit(lambda: sharded(mesh), draw_alike)) == shards | TWINS
    assert found(isoinit.audit(lambda: sharded(mesh), draw_by_place)) == set()
    # Megatron-LM#6799: parameters on the meta device are sharded, and nothing initializes them.
    audit = isoinit.audit(lambda: sharded(mesh), lambda model: None)
    assert found(audit) == {("never written", NAMES)}
    # Not sharded, and drawn under a seed of each rank's own.
    audit = isoinit.audit(lambda: nn.Linear(4, 4), seed=rank)
    assert audit.ok
    assert found(audit) == {("ranks differ", ("weight", "bias"))}


def test_shards_of_two_ranks():
    on_ranks(2, _on_two_ranks)


def _on_four_ranks(rank):
    torch.set_num_threads(1)
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))
    audit = isoinit.audit(lambda: sharded(mesh), draw, seed=rank)
    assert found(audit) == {("replicas differ", NAMES)}
    seed = mesh.get_local_rank("shard")  # replicas start alike, and shards do not
    assert found(isoinit.audit(lambda: sharded(mesh), draw, seed=seed)) == set()


def test_replicas_that_start_from_different_weights():
    """OLMo-core#319: two replicas of two shards, each rank under a seed of its own."""
    on_ranks(4, _on_four_ranks)


def _alone(rank):
    mesh = init_device_mesh("cpu", (1,))
    assert found(isoinit.audit(lambda: sharded(mesh), draw)) == set()


def test_one_rank_does_not_hang():
    """pytorch#180088: `nn.init` on a DTensor of one rank."""
    on_ranks(1, _alone, timeout=120)


# What other parts of the library must get right.


def grouped_convolution():
    """pytorch#23854, timm#84, mlx#4536: each of 8 channels sees 9 inputs, and reaches 9 outputs."""
    conv = nn.Conv2d(8, 8, 3, groups=8, padding=1)
    model = nn.Sequential(conv, nn.ReLU(), nn.Conv2d(8, 2, 1))
    plan = isoinit.plan(model, torch.zeros(1, 8, 6, 6), method="he")
    assert (plan["0.weight"].fan_in, plan["0.weight"].fan_out) == (9, 9)


def transposed_convolution():
    """pytorch#30079: the weight of shape (in, out, taps) has its inputs along the first axis."""
    conv = nn.ConvTranspose2d(4, 16, 3, padding=1)
    plan = isoinit.plan(nn.Sequential(conv, nn.ReLU()), torch.zeros(1, 4, 6, 6), method="he")
    assert plan["0.weight"].fan_in == 4 * 9
    assert nn.init._calculate_fan_in_and_fan_out(conv.weight)[0] == 16 * 9  # torch's fault


def truncated_normal():
    """pytorch#145498, torchtitan#2269: the bounds get the mass that rounds to them, and no more."""
    values = torch.empty(200_000, dtype=torch.bfloat16)
    functional.trunc_normal_(values, generator=torch.Generator().manual_seed(0))
    normal = torch.distributions.Normal(0.0, 1.0)
    low, high = (normal.cdf(torch.tensor(x)).item() for x in (2 - 2**-8, 2.0))  # they round to 2
    expected = 2 * (high - low) / math.erf(math.sqrt(2)) * len(values)
    count = int((values.abs() == 2).sum())
    assert values.abs().max() <= 2
    assert abs(count - expected) < 5 * math.sqrt(expected)  # once in two million


def own_activation():
    """pytorch#54030: E[φ(z)²] of φ(z) = z + sin²(z) is 1 + E[sin⁴ z] = 1 + 3/8 - e⁻²/2 + e⁻⁸/8."""
    moment = 1 + 3 / 8 - math.exp(-2) / 2 + math.exp(-8) / 8
    gain = isoinit.gain(lambda x: x + torch.sin(x) ** 2)
    assert gain == pytest.approx(moment**-0.5, rel=1e-6)


@pytest.mark.parametrize(
    "right", [grouped_convolution, transposed_convolution, truncated_normal, own_activation]
)
def test_what_the_other_parts_get_right(right):
    right()
