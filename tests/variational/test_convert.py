"""Converted weights: their distribution, their cost, and every refusal.

Seeds are fixed, so a check always passes or always fails; each states how rarely a correct
implementation fails under another seed.
"""

import math
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import parametrize, prune

import isoinit
from isoinit import variational
from isoinit.errors import ArgumentError, PlanError, UnknownParameterError
from isoinit.variational import convert, kl


@pytest.fixture(autouse=True)
def one_thread():
    """Such small products are slower on two threads, and much slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def mlp(width=16, depth=3, **options):
    hidden = [(nn.Linear(width, width, **options), nn.ReLU()) for _ in range(depth - 1)]
    return nn.Sequential(*(m for pair in hidden for m in pair), nn.Linear(width, width, **options))


def posterior(layer):
    """Mean and σ of a converted layer's weight."""
    weight = layer.parametrizations.weight
    return weight.original.detach(), weight[0].std().detach()


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(before, after):
    assert list(before) == list(after)
    for name, value in before.items():
        assert torch.equal(value, after[name]), name


LAYERS = {
    "linear": (lambda: nn.Linear(64, 48), (8, 64)),
    "conv1d": (lambda: nn.Conv1d(8, 12, 3, groups=2), (2, 8, 9)),
    "conv2d": (lambda: nn.Conv2d(8, 12, 3, stride=2), (2, 8, 9, 9)),
    "conv3d": (lambda: nn.Conv3d(4, 6, 3), (2, 4, 5, 5, 5)),
    "conv_transpose1d": (lambda: nn.ConvTranspose1d(8, 12, 4, stride=2), (2, 8, 5)),
    "conv_transpose2d": (lambda: nn.ConvTranspose2d(8, 12, 3, groups=4), (2, 8, 5, 5)),
    "conv_transpose3d": (lambda: nn.ConvTranspose3d(4, 6, 2), (2, 4, 3, 3, 3)),
}


# ---------------------------------------------------------------- the start


@pytest.mark.parametrize("kind", LAYERS)
def test_mean_and_spread_are_the_planned_ones(kind):
    make, shape = LAYERS[kind]
    model = nn.Sequential(make(), nn.ReLU())
    plan = isoinit.plan(model, torch.zeros(shape))
    drawn = plan.apply(model, seed=3)[0].weight.detach().clone()
    convert(model, plan, scale=0.5, seed=3)
    mean, sigma = posterior(model[0])
    torch.testing.assert_close(mean, drawn / math.sqrt(1.25))
    expected = 0.5 * plan["0.weight"].std / math.sqrt(1.25)
    torch.testing.assert_close(sigma, torch.full_like(sigma, expected))
    assert model(torch.randn(shape)).isfinite().all()


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_a_sampled_weight_has_the_planned_variance(scale):
    """65,536 weights, 0.55 % of a variance's error: 4.9 σ is one seed in 10**6."""
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU())
    plan = isoinit.plan(model, torch.zeros(1, 256))
    convert(model, plan, scale=scale, seed=0)
    torch.manual_seed(0)
    ratio = model[0].weight.square().mean().item() / plan["0.weight"].std ** 2
    assert abs(ratio - 1) < 4.9 * math.sqrt(2 / 65536)


@pytest.mark.parametrize("width", [64, 256, 1024])
@pytest.mark.parametrize("depth", [3, 20])
def test_the_signal_of_a_deep_network_is_that_of_its_plan(depth, width):
    """Root mean square over 4 draws of the weights; at 20 layers of 64 the ratio is 1.03 ± 0.07."""
    x = torch.randn(32, width, generator=torch.Generator().manual_seed(1))
    model = mlp(width, depth)
    plan = isoinit.plan(model, x)
    plan.apply(model, seed=1)
    with torch.no_grad():
        planned = model(x).square().mean()
        convert(model, plan, seed=1)
        torch.manual_seed(1)
        sampled = torch.stack([model(x).square().mean() for _ in range(4)]).mean()
    assert 0.8 < (sampled / planned).sqrt() < 1.25


def test_without_the_division_the_signal_would_explode():
    """At scale 1 undivided weights have twice the variance: 2**20 after 20 layers."""
    x = torch.randn(32, 128, generator=torch.Generator().manual_seed(1))
    model = convert(mlp(128, 20), scale=1.0, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        kept = model(x).square().mean()
        for layer in model[::2]:
            layer.parametrizations.weight.original.mul_(math.sqrt(2))
            layer.parametrizations.weight[0].log_std.add_(math.log(2) / 2)
        assert model(x).square().mean() / kept > 1e4


def test_the_rest_of_the_plan_is_applied():
    model, twin = mlp(), mlp()
    plan = isoinit.plan(model, torch.zeros(1, 16))
    plan["2.bias"] = isoinit.Constant(0.5)
    plan.apply(twin, seed=5)
    convert(model, plan, seed=5)
    for name in ("0.bias", "2.bias", "4.bias"):
        assert torch.equal(model.get_parameter(name), twin.get_parameter(name))


def test_a_variational_entry_is_used_as_it_is():
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 32))
    plan = isoinit.plan(model, torch.zeros(1, 64))
    plan["0.weight"] = isoinit.Variational(base=isoinit.Orthogonal(), scale=0.3)
    convert(model, plan, scale=0.05, seed=0)
    mean, sigma = posterior(model[0])
    eye = torch.eye(64) / 1.09
    torch.testing.assert_close(mean @ mean.T, eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(sigma[0, 0].item(), 0.3 / 8 / math.sqrt(1.09))
    torch.testing.assert_close(posterior(model[1])[1][0, 0].item(), 0.05 / 8 / math.sqrt(1.0025))


def test_the_variational_method_converts():
    model = mlp()
    plan = isoinit.plan(model, torch.zeros(1, 16), method="variational")
    assert isinstance(plan["0.weight"].initializer, isoinit.Variational)
    convert(model, plan, seed=0)
    torch.testing.assert_close(
        posterior(model[0])[1][0, 0].item(), 0.1 * plan["0.weight"].std / math.sqrt(1.01)
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_type_is_kept(dtype):
    model = convert(mlp(40, dtype=dtype), seed=0)
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert model[0].weight.dtype == dtype
    x = torch.ones(2, 40, dtype=dtype)
    loss = model(x).float().square().mean() + kl(model)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    # ρ is near -3.5, where bfloat16 has steps of 2**-6: half of one moves σ by 0.8 %.
    sigma = posterior(model[0])[1].double()
    expected = 0.1 * math.sqrt(1 / 40) / math.sqrt(1.01)
    assert (sigma / expected - 1).abs().max() < {torch.bfloat16: 0.02, torch.float16: 3e-3}.get(
        dtype, 1e-5
    )


def test_frozen_weights_are_left_out_by_request():
    model = mlp()
    model[0].requires_grad_(False)
    convert(model, parameters=lambda name, p: p.requires_grad and p.ndim > 1, seed=0)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert not any(name.startswith("0.") for name in trained)
    assert {"2.parametrizations.weight.original", "2.parametrizations.weight.0.log_std"} <= trained


def test_the_mean_is_the_parameter_that_was_there():
    layer = nn.Linear(4, 4)
    weight = layer.weight
    assert convert(layer, seed=0) is layer
    assert layer.parametrizations.weight.original is weight


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_all_weights_are_converted_and_no_biases_and_norm_layers():
    model = nn.Sequential(nn.Embedding(5, 8), Scaled(8, 8), nn.LayerNorm(8), nn.Bilinear(8, 8, 8))
    convert(model, seed=0)
    assert list(variational.posterior(model)) == ["0.weight", "1.weight", "3.weight"]


def test_a_transformer_layer_is_converted():
    """Attention reads its output projection's weight without calling the layer."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    convert(layer, seed=0).eval()
    x = torch.randn(2, 5, 16)
    with torch.no_grad():
        assert not torch.equal(layer(x), layer(x))


# ---------------------------------------------------------------- draws


def test_every_access_draws_anew_in_train_and_eval_mode():
    layer, x = convert(nn.Linear(8, 8), seed=0), torch.ones(1, 8)
    for mode in (True, False):
        layer.train(mode)
        assert not torch.equal(layer(x), layer(x))
        assert not torch.equal(layer.weight, layer.weight)
        torch.manual_seed(4)
        first = layer(x)
        torch.manual_seed(4)
        assert torch.equal(first, layer(x))


def test_converting_draws_nothing_from_the_default_generator():
    before = torch.get_rng_state()
    model = mlp()
    after = torch.get_rng_state()
    assert not torch.equal(before, after)
    convert(model, seed=0)
    assert torch.equal(after, torch.get_rng_state())


def test_the_same_seed_gives_the_same_bits_whatever_the_wrapper():
    plain, compiled, checkpointed, other = mlp(), mlp(), mlp(), mlp()
    checkpointed[2] = checkpoint_wrapper(checkpointed[2])
    convert(plain, seed=7)
    convert(torch.compile(compiled), seed=7)
    convert(checkpointed, seed=7)
    convert(other, seed=8)
    inner = checkpointed[2]._checkpoint_wrapped_module
    for twin in (compiled[2], inner):
        assert torch.equal(posterior(plain[2])[0], posterior(twin)[0])
        assert torch.equal(posterior(plain[2])[1], posterior(twin)[1])
    assert not torch.equal(posterior(plain[2])[0], posterior(other[2])[0])


def test_no_seed_is_governed_by_torch():
    means = []
    for _ in range(2):
        layer = nn.Linear(4, 4)
        torch.manual_seed(11)
        means.append(posterior(convert(layer, seed=None))[0])
    assert torch.equal(*means)


# ---------------------------------------------------------------- saving


def test_a_state_dict_goes_into_a_fresh_conversion(tmp_path):
    saved = convert(mlp(), prior=0.25, scale=0.2, seed=1)
    torch.save(saved.state_dict(), tmp_path / "model.pt")
    fresh = convert(mlp(), seed=2)
    fresh.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert_same(saved.state_dict(), fresh.state_dict())
    assert kl(saved) == kl(fresh)
    x = torch.ones(2, 16)
    torch.manual_seed(0)
    first = saved(x)
    torch.manual_seed(0)
    assert torch.equal(first, fresh(x))


# ---------------------------------------------------------------- refusals


def weight_normed():
    return nn.Sequential(nn.Linear(4, 4), nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))


def frozen():
    model = mlp()
    model[2].weight.requires_grad_(False)
    return model


def integer():
    model = nn.Linear(4, 4)
    model.codes = nn.Parameter(torch.arange(4), requires_grad=False)
    return model


def nothing(name, parameter):
    return False


REFUSED = {
    "weight norm": (weight_normed, {}, ["'1.", "_WeightNorm", "remove_parametrizations"]),
    "twice": (lambda: convert(mlp(), seed=0), {}, ["'0.weight'", "already"]),
    "no parameter": (nn.ReLU, {}, ["ReLU", "no parameters"]),
    "no weight": (lambda: nn.LayerNorm(4), {}, ["parameters='weights'", "none", '"all"']),
    "none chosen": (mlp, {"parameters": nothing}, ["none of the model's 6"]),
    "frozen": (frozen, {"parameters": "2.weight"}, ["'2.weight'", "frozen", "requires_grad"]),
    "scale": (mlp, {"scale": 0.0}, ["scale=0.0", "above 0"]),
    "scale, negative": (mlp, {"scale": -0.1}, ["scale=-0.1", "above 0"]),
    "scale, NaN": (mlp, {"scale": math.nan}, ["scale=nan", "finite"]),
    "scale, infinite": (mlp, {"scale": math.inf}, ["scale=inf", "finite"]),
    "prior": (mlp, {"prior": -1.0}, ["std=-1.0", "above 0"]),
    "prior, no number": (mlp, {"prior": "wide"}, ["'0.weight'", "'wide'", "NormalPrior"]),
    "prior, overflow": (mlp, {"prior": 1e300}, ["'0.weight'", "1e+300", "float32"]),
    "prior, underflow": (mlp, {"prior": 1e-300}, ["'0.weight'", "1e-300", "float32"]),
    "prior for a part": (mlp, {"prior": {"0.*": 1.0}}, ["matches '2.weight'", '"*"']),
    "noise": (mlp, {"noise": "loud"}, ["noise='loud'", "'flipout'"]),
    "start": (mlp, {"start": "moped"}, ["start='moped'", "Trained()"]),
    "seed": (mlp, {"seed": 1.5}, ["seed=1.5", "integer"]),
    "plan": (mlp, {"plan": "auto"}, ["plan is a str", "isoinit.Plan"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_and_unchanged(case):
    make, arguments, words = REFUSED[case]
    model = make()
    before = state(model)
    hooks = len(model._forward_pre_hooks)
    with pytest.raises(ArgumentError) as caught:
        convert(model, **arguments)
    assert_same(before, model.state_dict())
    assert len(model._forward_pre_hooks) == hooks
    for word in words:
        assert word in str(caught.value)


def test_what_is_no_module_is_refused():
    with pytest.raises(ArgumentError, match=r"model is a Tensor; expected a torch\.nn\.Module"):
        convert(torch.ones(3), seed=0)


def test_a_name_that_no_parameter_has_is_refused():
    model = mlp()
    for arguments in ({"parameters": ["0.weigth"]}, {"prior": {"*": 1.0, "5.weight": 2.0}}):
        with pytest.raises(UnknownParameterError, match="weight"):
            convert(model, **arguments)
        assert not parametrize.is_parametrized(model[0])


def test_an_integer_parameter_is_refused():
    model = integer()
    plan = isoinit.plan(nn.Linear(4, 4))
    with pytest.raises(isoinit.IsoinitError, match=r"'codes'.*int64"):
        convert(model, plan, parameters="all", seed=0)
    assert not parametrize.is_parametrized(model)


def test_a_prior_on_another_device_is_refused():
    model = mlp()
    prior = torch.distributions.Normal(*torch.zeros(2, device="meta"), validate_args=False)
    with pytest.raises(ArgumentError, match=r"'0.weight' is on meta, but the parameter is on cpu"):
        convert(model, prior=prior, seed=0)
    assert not parametrize.is_parametrized(model[0])


@pytest.mark.parametrize("initializer", [isoinit.Zeros(), isoinit.Normal(std=0.0)])
def test_a_weight_planned_at_zero_gets_the_spread_of_a_lecun_weight(initializer):
    model = mlp()
    plan = isoinit.plan(model, torch.zeros(1, 16))
    plan["2.weight"] = initializer
    convert(model, plan, seed=0)
    mean, sigma = posterior(model[2])
    assert not mean.any()
    torch.testing.assert_close(sigma, torch.full_like(sigma, 0.1 / 4 / math.sqrt(1.01)))


@pytest.mark.parametrize("other", [mlp(depth=2), mlp(width=8), mlp(dtype=torch.float64)])
def test_the_plan_of_another_model_is_refused_and_nothing_changes(other):
    model = mlp()
    before = state(model)
    with pytest.raises(PlanError, match="nothing was changed"):
        convert(model, isoinit.plan(other), seed=0)
    assert_same(before, model.state_dict())


def test_a_weight_that_the_plan_leaves_keeps_its_mean():
    model = nn.Sequential(OrderedDict(layer=nn.Linear(4, 4)))
    plan = isoinit.plan(model)
    plan.entries["layer.weight"] = replace(plan["layer.weight"], initializer=None)
    before = model.layer.weight.detach().clone()
    convert(model, plan, seed=0)
    torch.testing.assert_close(posterior(model.layer)[0], before / math.sqrt(1.01))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.inner(self.embed(tokens))), self.embed.weight, self.head.weight


def test_a_shared_parameter_is_converted_once_and_stays_shared():
    model = convert(Tied(), seed=0)
    parts = [layer.parametrizations.weight for layer in (model.embed, model.head)]
    assert parts[0].original is parts[1].original
    assert parts[0][0] is parts[1][0]
    assert list(variational.posterior(model)) == ["embed.weight", "inner.weight"]
    out, one, other = model(torch.arange(3))
    assert torch.equal(one, other)
    out.square().sum().backward()
    alone = convert(nn.Linear(4, 4), seed=0)
    assert kl(model) < 10 * kl(alone)  # 24 and 16 elements: the shared ones are counted once
    fresh = convert(Tied(), seed=3)
    fresh.load_state_dict(model.state_dict())
    plain = variational.sample(model, seed=0)
    assert plain.embed.weight is plain.head.weight
    assert sorted(plain.state_dict()) == sorted(Tied().state_dict())


def test_a_layer_used_twice_is_drawn_once_a_forward():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, layer)
    convert(model, parameters="all", seed=0)
    x = torch.randn(2, 4)
    torch.manual_seed(0)
    y = model(x)
    torch.manual_seed(0)
    with torch.no_grad():
        draws = layer.parametrizations.weight[0].draws
        with draws.fixed(torch.randint(2**63 - 1, ())):
            weight, bias = layer.weight, layer.bias
    torch.testing.assert_close(y, (x @ weight.T + bias) @ weight.T + bias)


def test_pruned_weights_are_converted_under_their_mask():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    prune.l1_unstructured(model[1], "weight", 0.5)
    convert(model, seed=0)
    model(torch.ones(1, 4))
    assert (model[1].weight == 0).sum() == 8
    assert "1.weight_orig" in variational.posterior(model)


def test_a_copy_is_converted_on_request():
    model = mlp()
    before = state(model)
    twin = convert(model, inplace=False, seed=4)
    assert_same(before, model.state_dict())
    assert torch.equal(posterior(twin[0])[0], posterior(convert(mlp(), seed=4)[0])[0])


def test_all_parameters_can_be_distributions():
    model = nn.Sequential(nn.Linear(16, 8), nn.LayerNorm(8))
    plan = isoinit.plan(model, torch.zeros(1, 16))
    convert(model, plan, parameters="all", scale=0.2, seed=0)
    found = variational.posterior(model)
    assert list(found) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert torch.equal(found["1.weight"].mean, torch.ones(8))
    for name, spread in {"1.weight": 1, "0.bias": 1 / 4, "1.bias": 1 / math.sqrt(8)}.items():
        torch.testing.assert_close(found[name].stddev, torch.full((8,), 0.2 * spread))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("4.weight", ["4.weight"]),
        (["0.*", "4.weight"], ["0.weight", "0.bias", "4.weight"]),
        ("role:bias", ["0.bias", "2.bias", "4.bias"]),
        (lambda name, p: p.ndim == 2, ["0.weight", "2.weight", "4.weight"]),
    ],
)
def test_parameters_are_chosen(parameters, expected):
    assert list(variational.posterior(convert(mlp(), parameters=parameters, seed=0))) == expected


def test_the_row_of_an_embedding_that_stands_for_nothing_stays_zero():
    model = convert(nn.Embedding(6, 4, padding_idx=2), seed=0)
    rows = model(torch.tensor([0, 2]))
    assert rows[0].any()
    assert not rows[1].any()
    kl(model).backward()
    parts = model.parametrizations.weight
    assert not parts[0].log_std.grad[2].any()
    assert parts[0].log_std.grad[1].any()


def test_a_meta_model_is_refused():
    with torch.device("meta"):
        model = mlp()
    with pytest.raises(PlanError, match="meta"):
        convert(model, seed=0)
    assert not parametrize.is_parametrized(model[0])


def test_a_lazy_model_is_refused():
    with pytest.raises(PlanError, match="lazy"):
        convert(nn.Sequential(nn.LazyLinear(4)), seed=0)


def test_a_distributed_model_is_refused(tmp_path):
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(mlp())
        with pytest.raises(ArgumentError, match="Convert first, then wrap"):
            convert(model, seed=0)
        assert not parametrize.is_parametrized(model.module[0])
    finally:
        torch.distributed.destroy_process_group()
