"""Converted weights: their distribution, their cost, and every refusal.

Seeds are fixed, so a check always passes or always fails; each states how rarely a correct
implementation fails under another seed.
"""

import math
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import softplus
from torch.nn.utils import parametrize, prune

import isoinit
from isoinit.errors import ArgumentError, PlanError
from isoinit.variational import GaussianWeight, convert, kl


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
    return weight.original.detach(), softplus(weight[0].rho.detach())


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
    model = convert(mlp(128, 20), scale=1.0)
    torch.manual_seed(1)
    with torch.no_grad():
        kept = model(x).square().mean()
        for layer in model[::2]:
            layer.parametrizations.weight.original.mul_(math.sqrt(2))
            rho = layer.parametrizations.weight[0].rho
            rho.copy_((softplus(rho) * math.sqrt(2)).expm1().log())
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
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    plan = isoinit.plan(model, torch.zeros(1, 64))
    plan["0.weight"] = isoinit.Variational(base=isoinit.Orthogonal(), scale=0.3)
    convert(model, plan, scale=0.05)
    mean, sigma = posterior(model[0])
    eye = torch.eye(64) / 1.09
    torch.testing.assert_close(mean @ mean.T, eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(sigma[0, 0].item(), 0.3 / 8 / math.sqrt(1.09))
    torch.testing.assert_close(posterior(model[1])[1][0, 0].item(), 0.05 / 8 / math.sqrt(1.0025))


def test_the_variational_method_converts():
    model = mlp()
    plan = isoinit.plan(model, torch.zeros(1, 16), method="variational")
    assert isinstance(plan["0.weight"].initializer, isoinit.Variational)
    convert(model, plan)
    torch.testing.assert_close(
        posterior(model[0])[1][0, 0].item(), 0.1 * plan["0.weight"].std / math.sqrt(1.01)
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_type_is_kept(dtype):
    model = convert(mlp(dtype=dtype))
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert model[0].weight.dtype == dtype
    x = torch.ones(2, 16, dtype=dtype)
    loss = model(x).float().square().mean() + kl(model)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    # ρ is near -3.5, where bfloat16 has steps of 2**-6: half of one moves σ by 0.8 %.
    sigma = posterior(model[0])[1].double()
    expected = 0.1 * math.sqrt(1 / 16) / math.sqrt(1.01)
    assert (sigma / expected - 1).abs().max() < {torch.bfloat16: 0.02, torch.float16: 3e-3}.get(
        dtype, 1e-5
    )


def test_frozen_weights_stay_frozen():
    model = mlp()
    model[0].requires_grad_(False)
    convert(model)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert not any(name.startswith("0.") for name in trained)
    assert {"2.parametrizations.weight.original", "2.parametrizations.weight.0.rho"} <= trained


def test_the_mean_is_the_parameter_that_was_there():
    layer = nn.Linear(4, 4)
    weight = layer.weight
    assert convert(layer) is layer
    assert layer.parametrizations.weight.original is weight


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_subclasses_are_converted_and_other_layers_are_not():
    model = nn.Sequential(nn.Embedding(5, 8), Scaled(8, 8), nn.LayerNorm(8), nn.Bilinear(8, 8, 8))
    convert(model)
    converted = [parametrize.is_parametrized(layer) for layer in model]
    assert converted == [False, True, False, False]


def test_a_transformer_layer_is_converted():
    """Attention reads its output projection's weight without calling the layer."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    convert(layer).eval()
    x = torch.randn(2, 5, 16)
    with torch.no_grad():
        assert not torch.equal(layer(x), layer(x))


# ---------------------------------------------------------------- draws


def test_every_access_draws_anew_in_train_and_eval_mode():
    layer, x = convert(nn.Linear(8, 8)), torch.ones(1, 8)
    for mode in (True, False):
        layer.train(mode)
        assert not torch.equal(layer(x), layer(x))
        with parametrize.cached():
            assert torch.equal(layer(x), layer(x))
        torch.manual_seed(4)
        first = layer(x)
        torch.manual_seed(4)
        assert torch.equal(first, layer(x))


def test_gradients_are_those_of_the_reparameterization():
    """d/dμ is the gradient of the weight; d/dρ is that times ε·sigmoid(ρ)."""
    layer = convert(nn.Linear(5, 3, dtype=torch.float64))
    mean, sigma = posterior(layer)
    with parametrize.cached():
        weight = layer.weight
        weight.retain_grad()
        layer(torch.randn(7, 5, dtype=torch.float64)).square().sum().backward()
    parts = layer.parametrizations.weight
    torch.testing.assert_close(parts.original.grad, weight.grad)
    noise = (weight.detach() - mean) / sigma
    expected = weight.grad * noise * torch.sigmoid(parts[0].rho.detach())
    torch.testing.assert_close(parts[0].rho.grad, expected)


def test_converting_draws_nothing_from_the_default_generator():
    before = torch.get_rng_state()
    model = mlp()
    after = torch.get_rng_state()
    assert not torch.equal(before, after)
    convert(model)
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


# ---------------------------------------------------------------- divergence


@given(mean=st.floats(-5, 5), spread=st.floats(1e-5, 12), prior_std=st.floats(1e-3, 1e3))
def test_kl_is_that_of_torch_distributions(mean, spread, prior_std):
    means = torch.full((2, 3), mean, dtype=torch.float64)
    weight = GaussianWeight(means, spread, prior_std)
    prior = Normal(torch.zeros_like(means), torch.full_like(means, prior_std))
    expected = kl_divergence(Normal(means, torch.full_like(means, spread)), prior).sum()
    torch.testing.assert_close(weight.kl(means).detach(), expected, rtol=1e-9, atol=1e-9)


def test_kl_is_the_mean_log_ratio_of_draws():
    """4.9 standard errors: one seed in 10**6."""
    model = convert(mlp(8), scale=0.5, prior_std=0.4)
    torch.manual_seed(0)
    ratios = torch.zeros(4000, dtype=torch.float64)
    for layer in model[::2]:
        mean, sigma = posterior(layer)
        with torch.no_grad():
            draws = torch.stack([layer.weight for _ in range(len(ratios))])
        log_q, log_p = Normal(mean, sigma).log_prob(draws), Normal(0.0, 0.4).log_prob(draws)
        ratios += (log_q - log_p).double().sum((1, 2))
    error = ratios.std() / math.sqrt(len(ratios))
    assert abs(ratios.mean() - kl(model)) < 4.9 * error
    assert error < 0.01 * kl(model)


def test_kl_is_zero_at_the_prior_and_pulls_toward_it():
    layer = convert(nn.Linear(3, 2), prior_std=0.7)
    parts = layer.parametrizations.weight
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(500):
        optimizer.zero_grad()
        kl(layer).backward()
        optimizer.step()
    torch.testing.assert_close(softplus(parts[0].rho), torch.full((2, 3), 0.7), atol=1e-3, rtol=0)
    torch.testing.assert_close(parts.original, torch.zeros(2, 3), atol=1e-3, rtol=0)
    assert 0 <= kl(layer) < 1e-4


def test_kl_of_a_compiled_layer_counts_its_weight_once():
    layer = convert(nn.Linear(3, 2))
    assert kl(torch.compile(layer)) == kl(layer)


def test_kl_in_half_precision_keeps_its_digits():
    """A hundred thousand equal terms, each right to bfloat16's rounding of ρ and the mean."""
    model, twin = (nn.Linear(320, 320, dtype=dtype) for dtype in (torch.bfloat16, torch.float64))
    half, full = kl(convert(model)), kl(convert(twin))
    assert half.dtype == torch.float32
    assert abs(half / full - 1) < 0.01


def test_kl_of_a_plain_model_is_refused():
    with pytest.raises(ArgumentError, match="convert"):
        kl(mlp())


# ---------------------------------------------------------------- saving


def test_a_state_dict_goes_into_a_fresh_conversion(tmp_path):
    saved = convert(mlp(), prior_std=0.25, scale=0.2, seed=1)
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


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight


def shared_layer():
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer)


def weight_normed():
    return nn.Sequential(nn.Linear(4, 4), nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))


def pruned():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    prune.l1_unstructured(model[1], "weight", 0.5)
    return model


REFUSED = {
    "tied": (Tied, {}, ["'embed.weight'", "'head.weight'", "shared"]),
    "a layer used twice": (shared_layer, {}, ["'0.weight'", "'2.weight'", "shared"]),
    "weight norm": (weight_normed, {}, ["'1.weight'", "_WeightNorm", "remove_parametrizations"]),
    "pruned": (pruned, {}, ["'1.weight'", "computed from others"]),
    "twice": (lambda: convert(mlp()), {}, ["'0.weight'", "already"]),
    "nothing to convert": (lambda: nn.LayerNorm(4), {}, ["LayerNorm", "no nn.Linear"]),
    "scale": (mlp, {"scale": 0.0}, ["scale=0.0", "above 0"]),
    "scale, infinite": (mlp, {"scale": math.inf}, ["scale=inf", "finite"]),
    "prior": (mlp, {"prior_std": -1.0}, ["prior_std=-1.0", "above 0"]),
    "prior, no number": (mlp, {"prior_std": "wide"}, ["prior_std='wide'", "number"]),
    "seed": (mlp, {"seed": 1.5}, ["seed=1.5", "whole number"]),
    "plan": (mlp, {"plan": "auto"}, ["plan is a str", "isoinit.Plan"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_and_unchanged(case):
    make, arguments, words = REFUSED[case]
    model = make()
    before = state(model)
    with pytest.raises(ArgumentError) as caught:
        convert(model, **arguments)
    assert_same(before, model.state_dict())
    for word in words:
        assert word in str(caught.value)


def test_what_is_no_module_is_refused():
    with pytest.raises(ArgumentError, match=r"model is a Tensor; expected a torch\.nn\.Module"):
        convert(torch.ones(3))


@pytest.mark.parametrize(
    ("initializer", "words"),
    [
        (isoinit.Zeros(), "filled with Zeros"),
        (isoinit.Constant(0.1), "filled with Constant"),
        (isoinit.Normal(std=0.0), "filled with Normal"),
    ],
)
def test_a_constant_plan_is_refused_and_nothing_changes(initializer, words):
    model = mlp()
    plan = isoinit.plan(model, torch.zeros(1, 16))
    plan["2.weight"] = initializer
    before = state(model)
    with pytest.raises(PlanError, match=r"'2\.weight'") as caught:
        convert(model, plan)
    assert words in str(caught.value)
    assert_same(before, model.state_dict())


@pytest.mark.parametrize("other", [mlp(depth=2), mlp(width=8), mlp(dtype=torch.float64)])
def test_the_plan_of_another_model_is_refused_and_nothing_changes(other):
    model = mlp()
    before = state(model)
    with pytest.raises(PlanError, match="nothing was changed"):
        convert(model, isoinit.plan(other))
    assert_same(before, model.state_dict())


def test_a_weight_that_the_plan_leaves_is_refused():
    model = nn.Sequential(OrderedDict(layer=nn.Linear(4, 4)))
    plan = isoinit.plan(model)
    plan.entries["layer.weight"] = replace(plan["layer.weight"], initializer=None)
    before = state(model)
    with pytest.raises(PlanError, match=r"'layer\.weight' is to be left as it was"):
        convert(model, plan)
    assert_same(before, model.state_dict())


def test_a_meta_model_is_refused():
    with torch.device("meta"):
        model = mlp()
    with pytest.raises(PlanError, match="meta"):
        convert(model)
    assert not parametrize.is_parametrized(model[0])


def test_a_lazy_model_is_refused():
    with pytest.raises(PlanError, match="lazy"):
        convert(nn.Sequential(nn.LazyLinear(4)))


def test_a_distributed_model_is_refused(tmp_path):
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(mlp())
        with pytest.raises(ArgumentError, match="convert first, then wrap"):
            convert(model)
        assert not parametrize.is_parametrized(model.module[0])
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("spread", [1e-30, 1e-6, 0.1, 1.0, 30.0, 1e4])
def test_rho_is_the_inverse_of_softplus(spread):
    gaussian = GaussianWeight(torch.zeros(1, dtype=torch.float64), spread, 1.0)
    torch.testing.assert_close(softplus(gaussian.rho).item(), spread, rtol=1e-9, atol=0)
