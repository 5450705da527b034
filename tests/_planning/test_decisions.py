"""The page that decides agrees with the plan: a model of each row gets what the row says."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import isoinit
from isoinit import sparse, variational

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "index.md"
WIDE = 300  # its square is more than 2¹⁶ elements: what is smaller is drawn orthogonal
X = torch.zeros(4, WIDE)


def rows():
    """What one has, and the call that the page gives for it."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index("| You have | Use | Because | Call |") + 2
    for line in lines[start:]:
        if not line.startswith("|"):
            return
        have, _, _, call = re.split(r"(?<!\\)\|", line.strip("|"))
        yield have.strip(), call.strip()


class Applied(nn.Module):
    """A forward as a function of the module's parts and the input."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.applied = forward

    def forward(self, x):
        return self.applied(self, x)


class Bump(nn.Module):
    def forward(self, x):
        return torch.exp(-x * x)


def between(activation, width=WIDE):
    """Two layers: the first is square, and the second one's output has not the form of the input."""
    return nn.Sequential(nn.Linear(width, width), activation, nn.Linear(width, width - 1))


def stack(activation):
    return nn.Sequential(*[m for _ in range(16) for m in (nn.Linear(WIDE, WIDE), activation())])


def kernels(activation):
    layers = [m for _ in range(16) for m in (nn.Conv2d(8, 8, 3, padding=1), activation())]
    return nn.Sequential(*layers), torch.zeros(2, 8, 6, 6)


def recurrent(kind, **options):
    net = Applied(lambda m, x: m.rnn(x)[0], rnn=kind(8, 16, batch_first=True, **options))
    return net, torch.zeros(2, 5, 8)


def branch(**parts):
    def forward(m, x):
        y = m.down(torch.relu(m.up(m.norm(x))))
        return x + (m.last(y) if "last" in parts else m.scale * y if "scale" in parts else y)

    def block():
        made = {name: make() for name, make in parts.items()}
        layers = {name: nn.Linear(WIDE, WIDE) for name in ("up", "down")}
        return Applied(forward, norm=nn.LayerNorm(WIDE), **layers, **made)

    return nn.Sequential(*[block() for _ in range(4)], nn.Linear(WIDE, 2))


def embedding(*, tied):
    table, out = nn.Embedding(50, 64), nn.Linear(64, 50, bias=False)
    if tied:
        out.weight = table.weight
    return Applied(lambda m, x: m.out(m.table(x)), table=table, out=out), torch.zeros(2, 3).long()


PRODUCT = Applied(
    lambda m, x: m.down(functional.silu(m.gate(x)) * m.up(x)),
    gate=nn.Linear(WIDE, WIDE),
    up=nn.Linear(WIDE, WIDE),
    down=nn.Linear(WIDE, WIDE - 1),
)
SIREN = Applied(
    lambda m, x: m.out(torch.sin(30 * m.hidden(torch.sin(30 * m.first(x))))),
    first=nn.Linear(WIDE, WIDE),
    hidden=nn.Linear(WIDE, WIDE),
    out=nn.Linear(WIDE, 1),
)
ADAPTER = Applied(
    lambda m, x: m.whole(x) + m.up(m.down(x)),
    whole=nn.Linear(WIDE, WIDE),
    down=nn.Linear(WIDE, 4, bias=False),
    up=nn.Linear(4, WIDE, bias=False),
)
SHUFFLE = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.PixelShuffle(2))
NORMED = nn.Sequential(nn.Linear(WIDE, WIDE), nn.LayerNorm(WIDE), nn.Linear(WIDE, WIDE - 1))
MIRRORED = (nn.ReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Sigmoid)
OWN = Applied(lambda m, x: x + torch.sin(x) ** 2)
ABSOLUTE = Applied(lambda m, x: x.abs())
SMALL = between(nn.ReLU(), 64), X[:, :64]
ESTIMATE = nn.Sequential(nn.Linear(WIDE, WIDE), nn.ReLU(), nn.Linear(WIDE, WIDE))


class Made(nn.Module):
    """A layer whose weights another makes of a code."""

    def __init__(self):
        super().__init__()
        self.code, self.make = nn.Linear(40, 16), nn.Linear(16, 64 * 8)

    def forward(self, x, code):
        made = self.make(self.code(code).relu()).view(-1, 64, 8)
        return torch.bmm(x[:, None], made)[:, 0]


MADE = Made(), (torch.randn(5, 64), torch.randn(5, 40))
TABLE = nn.Sequential(nn.Linear(9, 16), nn.ReLU(), nn.Linear(16, 2)), torch.randn(70, 9)
CURVE = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 1)), torch.zeros(4, 1)


def couple(m, x):
    """Half of the input scales and shifts the other half."""
    kept, moved = x.chunk(2, -1)
    scale, shift = m.last(torch.relu(m.first(kept))).chunk(2, -1)
    return torch.cat([kept, moved * torch.exp(scale) + shift], -1)


COUPLING = Applied(couple, first=nn.Linear(WIDE // 2, WIDE), last=nn.Linear(WIDE, WIDE))

# For the beginning of a row: models (alone, or with a batch) and parameters.
CASES = {
    "a bias, a norm shift": [(NORMED, "0.bias"), (NORMED, "1.bias")],
    "a norm scale": [(NORMED, "1.weight")],
    "a weight after the input or a norm layer": [(NORMED, "0.weight"), (NORMED, "2.weight")],
    "a weight after ReLU": [(between(nn.ReLU()), "2.weight")],
    "a weight after leaky ReLU": [(between(nn.LeakyReLU(0.2)), "2.weight")],
    "a weight after GELU": [
        (between(f), "2.weight") for f in (nn.GELU(), nn.SiLU(), nn.Mish(), nn.ELU(), OWN)
    ],
    "a weight after a product": [
        (PRODUCT, "down.weight"),
        (
            (
                nn.Sequential(nn.ReLU(), nn.AvgPool1d(2), nn.Linear(WIDE, WIDE)),
                torch.zeros(2, 3, 2 * WIDE),
            ),
            "2.weight",
        ),
    ],
    "a weight before SELU": [(between(nn.SELU()), "0.weight"), (stack(nn.SELU), "8.weight")],
    "a weight before tanh": [
        (between(f), "0.weight") for f in (nn.Tanh(), nn.Softsign(), nn.Sigmoid())
    ],
    "the same with more or fewer outputs": [
        (nn.Sequential(nn.Linear(WIDE, n), nn.Tanh()), "0.weight") for n in (WIDE + 1, WIDE - 1)
    ],
    "a weight of one of these rows": [
        (SMALL, "0.weight"),
        (SMALL, "2.weight"),
        ((between(nn.Tanh(), 64), X[:, :64]), "0.weight"),
    ],
    "the last weight of a network that estimates": [(ESTIMATE, "2.weight")],
    "a weight behind a sigmoid": [
        (between(f), "2.weight") for f in (nn.Sigmoid(), nn.Softplus(), ABSOLUTE)
    ],
    "a weight of one to three inputs": [(CURVE, "0.weight"), (TABLE, "0.weight")],
    "the bias beside it": [(CURVE, "0.bias"), (TABLE, "0.bias")],
    "a weight whose outputs scale": [(COUPLING, "last.weight")],
    "a weight whose outputs are the weights": [(MADE, "make.weight"), (MADE, "make.bias")],
    "13 or more layers": [(stack(f), "8.weight") for f in MIRRORED],
    "the same under tanh": [(stack(nn.Tanh), "8.weight"), (stack(nn.Tanh), "8.bias")],
    "the same under exp(-x²)": [(stack(Bump), "8.weight"), (stack(Bump), "8.bias")],
    "the same of linear layers": [(stack(nn.Identity), "8.weight")],
    "the kernel in such a stack": [(kernels(f), "8.weight") for f in (nn.Tanh, nn.ReLU)],
    "a recurrent weight": [(recurrent(f), "rnn.weight_hh_l0") for f in (nn.RNN, nn.GRU, nn.LSTM)],
    "a recurrent weight under ReLU": [(recurrent(nn.RNN, nonlinearity="relu"), "rnn.weight_hh_l0")],
    "the input weight of an LSTM or GRU": [
        (recurrent(f), "rnn.weight_ih_l0") for f in (nn.GRU, nn.LSTM)
    ],
    "an LSTM's bias": [(recurrent(nn.LSTM), "rnn.bias_ih_l0")],
    "an embedding": [(embedding(tied=False), "table.weight")],
    "an embedding that is the output layer too": [(embedding(tied=True), "table.weight")],
    "the end of one of N residual branches": [(branch(), "0.down.weight")],
    "the scale that a residual branch ends with": [
        (branch(last=lambda: nn.BatchNorm1d(WIDE)), "0.last.weight"),
        (branch(scale=lambda: nn.Parameter(torch.zeros(1))), "0.scale"),
        (branch(scale=lambda: nn.Parameter(torch.ones(WIDE))), "0.scale"),
    ],
    "a weight before sin": [(SIREN, f"{name}.weight") for name in ("first", "hidden", "out")],
    "a convolution before a pixel shuffle": [((SHUFFLE, torch.zeros(1, 3, 8, 8)), "2.weight")],
    "the two factors of a low-rank adapter": [(ADAPTER, "down.weight"), (ADAPTER, "up.weight")],
}
# What a plan does not decide by itself.
ON_REQUEST = {
    "layers too large for the memory": lambda: sparse.convert(
        between(nn.ReLU()), density=0.1, seed=0
    ),
    "the same in a deep plain stack": lambda: isoinit.SparseOrthogonal(0.1),
    "a weight whose uncertainty matters": lambda: variational.convert(between(nn.ReLU()), seed=0),
    "a number given by a recipe": lambda: isoinit.plan(between(nn.ReLU()), X, recipe="own"),
}


def named(have):
    """The longest beginning of a row that is in the tables above."""
    return max((name for name in (*CASES, *ON_REQUEST) if have.startswith(name)), key=len)


@pytest.mark.parametrize(("have", "call"), list(rows()), ids=[have for have, _ in rows()])
def test_the_plan_gives_what_the_row_says(have, call):
    name = named(have)
    if name in ON_REQUEST:
        ON_REQUEST[name]()
        return
    for given, parameter in CASES[name]:
        model, batch = given if isinstance(given, tuple) else (given, X)
        entry = isoinit.plan(model, batch)[parameter]
        assert f"{type(entry.initializer).__name__}(" in call, (parameter, entry.initializer)


def test_no_case_is_left_over():
    assert {named(have) for have, _ in rows()} == {*CASES, *ON_REQUEST}


def test_numbers_of_rows():
    assert isoinit.plan(between(nn.LeakyReLU(0.2)), X)["2.weight"].initializer.a == 0.2
    assert (
        isoinit.plan(embedding(tied=True)[0], torch.zeros(2, 3).long())["table.weight"].std
        == 64**-0.5
    )
    end = isoinit.plan(branch(), X)["0.down.weight"].initializer
    assert end.gain == pytest.approx(2**0.5 / 4**0.5, rel=0.01)
    assert isoinit.plan(*SMALL)["2.weight"].std == pytest.approx((2 / 64) ** 0.5)
    assert isoinit.plan(ESTIMATE, X)["2.weight"].std == pytest.approx((2 / WIDE) ** 0.5 / 4)
    assert isoinit.plan(between(nn.Tanh()), X)["0.weight"].std == pytest.approx(WIDE**-0.5)


@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.LeakyReLU(0.2), nn.GELU(), nn.SELU(), nn.Tanh()]
)
@pytest.mark.parametrize("name", ["0.weight", "2.weight"])
def test_few_weights_are_orthogonal_at_the_variance_of_their_row(activation, name):
    few, many = (
        isoinit.plan(between(activation, width), torch.zeros(4, width))[name]
        for width in (64, WIDE)
    )
    assert few.rule == many.rule
    assert isinstance(few.initializer, isoinit.Orthogonal)
    assert not isinstance(many.initializer, isoinit.Orthogonal)
    assert few.std * 64**0.5 == pytest.approx(many.std * WIDE**0.5, rel=1e-9)


def test_what_has_the_form_of_the_input_has_a_quarter_of_its_row():
    full, same = (
        isoinit.plan(nn.Sequential(nn.Linear(WIDE, WIDE), nn.ReLU(), nn.Linear(WIDE, n)), X)
        for n in (2 * WIDE, WIDE)
    )
    assert same["2.weight"].std == pytest.approx(full["2.weight"].std / 4, rel=1e-9)
