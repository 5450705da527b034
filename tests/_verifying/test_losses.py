"""Losses of the output alone, and of output and targets: what the model gets, and what is refused."""

import functools
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import isoinit
from isoinit.errors import ArgumentError

X = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(32) % 5


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5))


class Scaled(nn.Module):
    """A loss of the user's own, with weights that no gradient may stay on."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, output, target, weight=None):
        return self.scale * cross_entropy(output, target, weight)


class Callable:
    def __call__(self, output, target):
        return cross_entropy(output, target)


LOSSES = [
    nn.CrossEntropyLoss(), cross_entropy, lambda output, y: cross_entropy(output, y), Scaled(),
    Callable(), Callable().__call__, functools.partial(cross_entropy, reduction="mean"),
    torch.jit.script(nn.CrossEntropyLoss()),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("pair", [(X, Y), [X, Y], ((X,), Y), ({"input": X}, Y)])
def test_the_model_gets_the_inputs_and_the_loss_the_targets(loss, pair):
    model = net()
    health = isoinit.check(model, pair, loss=loss)
    assert health.loss == pytest.approx(cross_entropy(model(X), Y).item(), rel=1e-6)
    if not isinstance(loss, (Scaled, torch.jit.ScriptModule)):
        assert health.chance == pytest.approx(math.log(5))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(8, 5)

    def forward(self, a, b):
        return {"logits": self.out(a * b)}


@pytest.mark.parametrize(
    ("batch", "loss"),
    [
        ((X, X), lambda output: cross_entropy(output["logits"], Y)),
        ((X, X), lambda output, y=Y: cross_entropy(output["logits"], y)),
        ((X, X), lambda *given: cross_entropy(given[0]["logits"], Y)),
        (((X, X), {"labels": Y}), lambda output, y: cross_entropy(output["logits"], y["labels"])),
        (({"a": X, "b": X}, Y), lambda output, y: cross_entropy(output["logits"], y)),
    ],
)
def test_a_model_of_two_arguments(batch, loss):
    model = Two()
    expected = cross_entropy(model(X, X)["logits"], Y).item()
    assert isoinit.check(model, batch, loss=loss).loss == pytest.approx(expected, rel=1e-6)


def test_a_builtin_that_does_not_tell_what_it_takes_gets_the_output():
    assert isoinit.check(net(), X, loss=torch.sum).loss == pytest.approx(net()(X).sum().item())


def test_a_comparison_trains_on_the_pair():
    one = lambda output: cross_entropy(output, Y)  # noqa: E731
    runs = [
        isoinit.compare(net, X, ["plan"], 2, loss=one, seeds=[0]),
        isoinit.compare(net, (X, Y), ["plan"], 2, loss=cross_entropy, seeds=[0]),
        isoinit.compare(net, X, ["plan"], 2, data=lambda _: ((X, Y), cross_entropy), seeds=[0]),
    ]
    losses = [run["plan"].runs[0].losses for run in runs]
    assert losses[0] == losses[1] == losses[2]


FUNCTION = "lambda output: torch.nn.functional.cross_entropy(output, targets)"
REFUSED = [
    (X, nn.CrossEntropyLoss(), r"CrossEntropyLoss\(\) takes 2 arguments \(input, target\)"),
    (X, cross_entropy, "the batch is a Tensor without targets"),
    ({"input": X}, lambda output, y: 0, "the batch is a dict"),
    ((X, Y, Y), mse_loss, "the batch is a tuple of 3"),
    ((X, Y), nn.CTCLoss(), r"takes 4 arguments .* called with at most two"),
    (
        (X, Y),
        lambda output, *, y: 0,
        r"takes 2 arguments \(output, y\), but it is called with at most two",
    ),
    ((X, Y), "cross_entropy", "loss='cross_entropy' is a str"),
    ((X, Y), nn.CrossEntropyLoss, r"is the class CrossEntropyLoss; expected an instance"),
    ((X, Y), Y, "loss is a tensor"),
    ((X, Y), 3, "loss=3 is a int"),
]


@pytest.mark.parametrize(("batch", "loss", "words"), REFUSED)
def test_what_is_refused_says_how_to_give_the_targets(batch, loss, words):
    model = net()
    for verb in (
        lambda: isoinit.check(model, batch, loss=loss),
        lambda: isoinit.compare(net, batch, ["plan"], 1, loss=loss),
    ):
        with pytest.raises(ArgumentError, match=words) as caught:
            verb()
        assert "(inputs, targets)" in str(caught.value)
        assert "lambda output: " in str(caught.value)


@pytest.mark.parametrize("loss", ["cross_entropy", "no such name", cross_entropy])
def test_the_function_to_give_is_spelled_out(loss):
    with pytest.raises(ArgumentError) as caught:
        isoinit.check(net(), X, loss=loss)
    assert FUNCTION in str(caught.value)
