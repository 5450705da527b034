"""Dense weights that hold zeros."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import isoinit
from isoinit._drawing.streams import Stream
from isoinit._writing.parametrized import parametrized
from isoinit.errors import ArgumentError, PlanError, UnknownParameterError
from isoinit.initializers import Sparse, patterns
from isoinit.initializers.patterns import shape_of
from isoinit.initializers.scale import fans
from isoinit.sparse._mask import Masked, hold, mask_of, remove_masks
from isoinit.sparse.layers import Places, Scattered

FIXED = patterns.Fixed(0.3)


class Attention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, **options)

    def forward(self, x):
        return self.inner(x, x[..., : self.inner.kdim], x[..., : self.inner.vdim])[0]


def drawn(model):
    """Patterns and layouts of the weights of a model, as its plan reads them."""
    plan = isoinit.plan(model)
    layouts = {entry.name: entry.layout for entry in plan if entry.layout.is_map}
    kept = {
        name: FIXED.draw(Stream(0, name), *shape_of(layout)) for name, layout in layouts.items()
    }
    return kept, layouts


CASES = {
    "linear": (lambda: nn.Linear(20, 6), lambda: torch.randn(8, 20)),
    "conv": (lambda: nn.Conv2d(8, 4, 3, groups=2), lambda: torch.randn(2, 8, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose1d(6, 4, 3), lambda: torch.randn(2, 6, 5)),
    "lstm": (lambda: nn.LSTM(6, 4, num_layers=2, bidirectional=True), lambda: torch.randn(3, 2, 6)),
    "gru": (lambda: nn.GRU(6, 4), lambda: torch.randn(3, 2, 6)),
    "cell": (lambda: nn.GRUCell(6, 4), lambda: torch.randn(3, 6)),
    "embedding": (lambda: nn.Embedding(9, 10), lambda: torch.tensor([[0, 3], [8, 3]])),
    "padding": (lambda: nn.Embedding(9, 10, padding_idx=3), lambda: torch.tensor([[0, 3], [8, 3]])),
    "bag": (lambda: nn.EmbeddingBag(9, 10), lambda: torch.tensor([[0, 3], [8, 3]])),
    "attention": (lambda: Attention(), lambda: torch.randn(3, 2, 8)),
    "cross": (lambda: Attention(kdim=6, vdim=4, bias=False), lambda: torch.randn(3, 2, 8)),
    "transformer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        lambda: torch.randn(2, 3, 8),
    ),
}


def output(model, x):
    y = model(x)
    return y[0] if isinstance(y, tuple) else y


@pytest.mark.parametrize("case", CASES)
def test_computes_as_a_plain_layer_whose_weights_are_zeroed(case):
    make, batch = CASES[case]
    model, x = make(), batch()
    kept, layouts = drawn(model)
    assert kept
    plain = copy.deepcopy(model)
    masks = {name: mask_of(kept[name], layouts[name]) for name in kept}
    with torch.no_grad():
        for name, mask in masks.items():
            plain.get_parameter(name).mul_(mask)
    parameters = dict(model.named_parameters())
    hold(model, kept, layouts)
    assert {id(p) for p in model.parameters()} == {id(p) for p in parameters.values()}
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameters[name], parameter)  # zeros in place
    for training in (True, False):
        model.train(training)
        plain.train(training)
        with torch.no_grad():
            # Attention in eval mode: torch's fused path is for plain layers alone.
            assert torch.allclose(output(model, x), output(plain, x), atol=1e-6)
    for network in (model.train(), plain.train()):
        output(network, x).square().sum().backward()
    for name, parameter in plain.named_parameters():
        expected = parameter.grad * masks.get(name, 1)
        assert torch.allclose(parameters[name].grad, expected, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1),
        lambda p: torch.optim.Rprop(p, lr=0.05),
    ],
)
def test_zeros_stay_through_any_optimizer(make):
    model = nn.Sequential(nn.Embedding(9, 10, padding_idx=3), nn.LSTM(10, 4))
    kept, layouts = drawn(model)
    optimizer = make(model.parameters())  # before the masks
    hold(model, kept, layouts)
    before = copy.deepcopy(model.state_dict())
    for _ in range(4):
        optimizer.zero_grad()
        output(model, torch.tensor([[0, 3], [8, 3]])).square().sum().backward()
        optimizer.step()
    for name in kept:
        mask, weight = mask_of(kept[name], layouts[name]), model
        for part in name.split("."):
            weight = getattr(weight, part)
        assert not weight[~mask].any()
        layer, attribute = name.rsplit(".", 1)
        original = f"{layer}.parametrizations.{attribute}.original"
        assert not torch.equal(model.state_dict()[original], before[original])
        assert not model.state_dict()[original][~mask].any()
    assert not model[0].weight[3].any()  # padding


def test_whatever_is_written_the_zeros_are_read():
    layer = nn.Linear(20, 6)
    kept, layouts = drawn(layer)
    hold(layer, kept, layouts)
    mask = mask_of(kept["weight"], layouts["weight"])
    layer.weight = torch.ones(6, 20)
    assert torch.equal(layer.weight, mask.float())
    with torch.no_grad():
        layer.parametrizations.weight.original.fill_(float("nan"))
    assert not layer.weight[~mask].any()
    assert layer.bfloat16().weight.dtype == torch.bfloat16


@pytest.mark.parametrize("pattern", ["fixed", "random", "block2", "2:4"])
@pytest.mark.parametrize(
    "layout",
    [
        fans.linear((8, 16)),
        fans.linear((16, 8), transposed=True),
        fans.linear((24, 8), blocks=3),
        fans.conv((8, 4, 2, 2), groups=2),
        fans.conv_transpose((8, 4, 2, 2), groups=2),
        fans.embedding((8, 16)),
    ],
    ids=lambda layout: f"{layout.kind}{layout.shape}",
)
def test_a_mask_is_where_the_initializer_writes(layout, pattern):
    """`Sparse.write` puts the same pattern into a dense parameter by code of its own."""
    sparse = Sparse(0.5, pattern=pattern)
    stream = Stream(0, "w")
    kept, _ = sparse.draw_kept(stream, layout, torch.zeros(0).numpy().dtype)
    written = torch.zeros(layout.maps_shape).numpy()
    sparse.write(written, stream, layout)
    stored = torch.from_numpy(layout.from_maps(written).copy())
    assert torch.equal(mask_of(kept, layout), stored != 0)


def test_the_mask_is_saved():
    layer, other = nn.Linear(20, 6), nn.Linear(20, 6)
    kept, layouts = drawn(layer)
    hold(layer, kept, layouts)
    elsewhere = FIXED.draw(Stream(1, "weight"), 1, 6, 20)
    hold(other, {"weight": elsewhere}, layouts)
    assert not torch.equal(other.weight != 0, layer.weight != 0)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.weight, layer.weight)


@pytest.mark.parametrize("case", CASES)
def test_masks_can_be_removed(case):
    make, batch = CASES[case]
    model, x = make(), batch()
    names, kinds = sorted(model.state_dict()), [type(m) for m in model.modules()]
    parameters = {id(p) for p in model.parameters()}
    kept, layouts = drawn(model)
    hold(model, kept, layouts)
    twin = copy.deepcopy(model)
    expected = output(model, x)
    assert remove_masks(model) is model
    assert sorted(model.state_dict()) == names
    assert [type(m) for m in model.modules()] == kinds
    assert {id(p) for p in model.parameters()} == parameters
    for name in kept:
        assert not model.get_parameter(name)[~mask_of(kept[name], layouts[name])].any()
    assert torch.equal(output(model, x), expected)
    output(model, x).sum().backward()
    assert torch.equal(output(twin, x), expected)  # a copy keeps its masks
    assert any(isinstance(m, Masked) for m in twin.modules())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert not torch.equal(output(model, x), expected)


def test_other_parametrizations_of_a_layer_stay():
    layer = nn.utils.parametrizations.weight_norm(nn.LSTM(6, 4), "weight_hh_l0")
    layout = fans.linear((16, 6), blocks=4)
    kept = FIXED.draw(Stream(0, "w"), *shape_of(layout))
    hold(layer, {"weight_ih_l0": kept}, {"weight_ih_l0": layout})
    x = torch.randn(3, 2, 6)
    expected = layer(x)[0]
    remove_masks(layer)
    assert "parametrizations.weight_hh_l0.original0" in layer.state_dict()
    assert isinstance(layer._parameters["weight_ih_l0"], nn.Parameter)
    assert torch.equal(layer(x)[0], expected)


def test_what_has_no_masks_or_more_is_refused():
    with pytest.raises(ArgumentError, match="Linear has no masks"):
        remove_masks(nn.Linear(2, 2))
    layer = nn.Linear(20, 6)
    hold(layer, *drawn(layer))
    parametrize.register_parametrization(layer, "weight", nn.Identity())
    with pytest.raises(ArgumentError, match=r"'weight' has several.*\(Masked, Identity\)"):
        remove_masks(layer)


def tied():
    model = nn.Sequential(nn.Embedding(20, 6), nn.Linear(6, 20, bias=False))
    model[1].weight = model[0].weight
    return model


def scattered():
    model = nn.Sequential(nn.Linear(20, 6))
    places = Places(torch.arange(6), torch.arange(7), 20)
    parametrized(model[0], "weight", Scattered(places, (6, 20), (0, 1), (6, 20)))
    return model


LINEAR = fans.linear((6, 20))
NORMED = "parametrizations.weight.original1"


@pytest.mark.parametrize(
    ("model", "name", "layout", "error", "match"),
    [
        (nn.Sequential(nn.Linear(20, 6)), "0.wieght", LINEAR, UnknownParameterError, r"0\.weight"),
        (tied(), "0.weight", fans.embedding((20, 6)), ArgumentError, "shared with '1.weight'"),
        (tied(), "1.weight", fans.linear((20, 6)), ArgumentError, "shared with '1.weight'"),
        (
            nn.utils.parametrizations.weight_norm(nn.Linear(20, 6)),
            NORMED,
            LINEAR,
            ArgumentError,
            "belongs to a parametrization",
        ),
        (
            scattered(),
            "0.parametrizations.weight.original",
            LINEAR,
            ArgumentError,
            "sparse already",
        ),
        (nn.Linear(20, 6, device="meta"), "weight", LINEAR, PlanError, "meta"),
        (nn.LazyLinear(6), "weight", LINEAR, PlanError, "no shape yet"),
        (nn.Linear(20, 7), "weight", LINEAR, ArgumentError, r"\(6, 20\); expected \(7, 20\)"),
        (
            nn.Linear(20, 6),
            "weight",
            fans.conv((6, 10, 3)),
            ArgumentError,
            r"\(6, 20\); expected \(6, 30\)",
        ),
        (nn.Linear(20, 6), "bias", fans.vector((6,)), ArgumentError, "vector"),
        (
            nn.Embedding(6, 20, sparse=True),
            "weight",
            fans.embedding((6, 20)),
            ArgumentError,
            "sparse=True",
        ),
        (torch.jit.script(nn.Linear(20, 6)), "weight", LINEAR, ArgumentError, "scripted"),
    ],
)
def test_what_is_refused_changes_nothing(model, name, layout, error, match):
    shape = (1, 6, 20) if layout.kind in ("conv", "vector") else shape_of(layout)
    kept = FIXED.draw(Stream(0, "w"), *shape)
    before = [(type(m), id(m)) for m in model.modules()]
    with pytest.raises(error, match=match):
        hold(model, {name: kept}, {name: layout})
    assert [(type(m), id(m)) for m in model.modules()] == before
