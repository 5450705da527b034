"""Between sparse and dense: the same function, the largest weights, the plain classes again."""

import copy

import pytest
import torch
from torch import nn

from isoinit import sparse
from isoinit.errors import ArgumentError, IsoinitWarning


def parts():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(40, 32, padding_idx=3),
        nn.Linear(32, 64),
        nn.ReLU(),
        nn.Unflatten(-1, (16, 4)),
        nn.Conv1d(16, 8, 3, groups=2),
        nn.Flatten(1),
        nn.Linear(16, 8, bias=False),
    ).eval()


INDEX = torch.arange(40)


def test_to_dense_gives_the_plain_model_with_zeros():
    plain = parts()
    model = sparse.convert(copy.deepcopy(plain), density=0.25, seed=0)
    before = model(INDEX)
    dense = sparse.to_dense(model)
    assert [type(a) for a in dense] == [type(a) for a in plain]
    assert dense.state_dict().keys() == plain.state_dict().keys()
    assert torch.allclose(dense(INDEX), before, atol=1e-5)
    assert torch.equal(model(INDEX), before)  # the sparse model is as it was
    for layer in (dense[1], dense[4], dense[6]):
        assert (layer.weight != 0).float().mean().item() == pytest.approx(0.25)


def test_recurrent_layers_get_their_class_back():
    model = sparse.convert(
        nn.Sequential(nn.LSTM(20, 30, 2, bidirectional=True)), density=0.2, seed=0
    )
    x = torch.randn(5, 3, 20)
    dense = sparse.to_dense(model)
    assert type(dense[0]) is nn.LSTM
    assert torch.allclose(dense(x)[0], model(x)[0], atol=1e-6)
    assert model[0].parametrizations  # of the original


@pytest.mark.parametrize("pattern", ["fixed", "random"])
def test_from_dense_keeps_the_largest_weights_with_their_values(pattern):
    plain = parts()
    dense = sparse.to_dense(sparse.from_dense(plain, density=0.25, pattern=pattern, inplace=False))
    for index in (1, 4, 6):
        weight, found = plain[index].weight.detach(), dense[index].weight.detach()
        kept = found != 0
        assert torch.equal(found[kept], weight[kept])
        rows, lines = kept.flatten(1), weight.abs().flatten(1)
        if pattern == "fixed":
            assert (rows.sum(1) == rows.shape[1] // 4).all()
            for row, line in zip(rows, lines, strict=True):
                assert line[row].min() >= line[~row].max()
        else:
            assert kept.sum() == kept.numel() // 4
            assert rows.any(1).all()
    assert torch.equal(dense[1].bias, plain[1].bias)


def test_from_dense_says_what_stays_dense():
    with pytest.warns(IsoinitWarning, match="stay dense"):
        model = sparse.from_dense(parts(), density=0.6)
    assert type(model[1]) is nn.Linear


def test_adopt_takes_the_places_of_another_model():
    one, other = (sparse.convert(parts(), density=0.25, seed=seed) for seed in (0, 1))
    state = one.state_dict()
    sparse.adopt(other, state).load_state_dict(state)
    assert torch.equal(other(INDEX), one(INDEX))
    x = torch.randn(3, 32)
    grads = []
    for model in (one, other):
        leaf = x.clone().requires_grad_()
        model[1](leaf).sum().backward()
        grads.append(leaf.grad)
    assert torch.equal(*grads)  # the pattern by columns moved too


class TestBadInput:
    def test_a_model_without_sparse_weights(self):
        with pytest.raises(ArgumentError, match="to_dense: Sequential has no sparse weight"):
            sparse.to_dense(parts())
        with pytest.raises(ArgumentError, match="adopt: Sequential has no sparse weight"):
            sparse.adopt(parts(), {})

    def test_weights_without_values(self):
        with torch.device("meta"), pytest.raises(ArgumentError, match="'weight' is on the meta"):
            sparse.from_dense(nn.Linear(16, 16))

    def test_places_of_another_number(self):
        model = sparse.convert(parts(), density=0.25, seed=0)
        before = model[1].places.columns.clone()
        state = sparse.convert(parts(), density={"1.weight": 0.25, "*": 0.125}, seed=0).state_dict()
        with pytest.raises(ArgumentError, match="nothing was changed: the state dict has"):
            sparse.adopt(model, state)
        assert torch.equal(model[1].places.columns, before)
