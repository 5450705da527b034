"""Learned positions and tokens are as large as what they join, measured in real modules."""

import math

import pytest
import torch
from torch import nn

import isoinit

D, PLACES = 64, 16


def rms(tensor):
    return tensor.detach().square().mean().sqrt().item()


class Joined(nn.Module):
    """Tokens and positions, `self.sides` as they meet in the sum."""

    def __init__(self, way):
        super().__init__()
        self.table, self.places = nn.Embedding(2000, D), nn.Embedding(PLACES, D)
        self.rows, self.columns = nn.Embedding(4, D), nn.Embedding(4, D)
        self.halves = nn.ModuleList(nn.Embedding(4, D // 2) for _ in range(2))
        self.bare = nn.Parameter(torch.randn(1, PLACES, D))
        self.norm, self.drop, self.out = nn.LayerNorm(D), nn.Dropout(0.5), nn.Linear(D, 5)
        self.way = way

    def forward(self, tokens):
        places, four = torch.arange(PLACES), torch.arange(4)
        if self.way == "tokens first":
            table = self.table(tokens)
            position = self.places(places)
        elif self.way == "positions first":
            position = self.places(places)
            table = self.table(tokens)
        elif self.way == "scaled":
            position = self.places(places)[None] * D**-0.5
            table = self.table(tokens)
        elif self.way == "divided, moved and dropped":
            position = self.drop(self.places(places).reshape(1, PLACES, D) / 3)
            table = self.table(tokens) * 5
        elif self.way == "normalized":
            position = self.norm(self.places(places))
            table = self.table(tokens)
        elif self.way == "rows and columns":
            position = (self.rows(four)[:, None] + self.columns(four)[None]).flatten(0, 1)
            table = self.table(tokens) * 3
        elif self.way == "rows beside columns":
            across, down = (half(four) for half in self.halves)
            across, down = across.expand(4, 4, -1), down[:, None].expand(4, 4, -1)
            position = torch.cat([across, down], -1).flatten(0, 1)
            table = self.table(tokens) * 3
        elif self.way == "a parameter":
            position, table = self.bare, self.table(tokens) * 2
        elif self.way == "a parameter, scaled":
            table, position = self.table(tokens) * 2, self.bare * 0.125
        elif self.way == "a parameter, weighed":
            table, position = self.table(tokens), self.bare * 0.25
            self.sides = table, position * 0.5
            return self.out(torch.add(table, position, alpha=0.5))
        elif self.way == "weighed":
            position, table = self.places(places), self.table(tokens)
            self.sides = table, position * 3
            return self.out(torch.sub(table, position, alpha=3))
        elif self.way == "behind a norm":
            position, table = self.bare, self.norm(self.table(tokens))
        self.sides = table, position
        return self.out(table + position)


WAYS = [
    "tokens first",
    "positions first",
    "scaled",
    "divided, moved and dropped",
    "normalized",
    "rows and columns",
    "rows beside columns",
    "a parameter",
    "a parameter, scaled",
    "a parameter, weighed",
    "weighed",
    "behind a norm",
]


@pytest.mark.parametrize("way", WAYS)
def test_a_position_is_as_large_as_what_it_joins(way):
    model, tokens = Joined(way), torch.randint(0, 2000, (64, PLACES))
    isoinit.plan(model, tokens).apply(model, seed=0)
    model.eval()(tokens)
    table, position = map(rms, model.sides)
    # 8 rows of 64 at the least: a relative standard error of 1/√(2·512) = 3 %, five of which miss
    # once in two million draws.
    assert position == pytest.approx(table, rel=0.16)


def test_the_order_and_the_scale_are_all_that_differs():
    tokens = torch.randint(0, 2000, (4, PLACES))
    stds = {way: isoinit.plan(Joined(way), tokens)["places.weight"].std for way in WAYS[:3]}
    assert stds["tokens first"] == pytest.approx(D**-0.25, rel=0.02)
    assert stds["positions first"] == pytest.approx(D**-0.25, rel=0.02)
    assert stds["scaled"] == pytest.approx(D**0.25, rel=0.02)


def behind(norm, added, **options):
    """Add a parameter of a shape to what a norm layer gives."""

    class Behind(nn.Module):
        def __init__(self):
            super().__init__()
            self.map, self.norm = nn.Linear(8, D), norm(**options)
            self.added = nn.Parameter(torch.zeros(added))
            self.out = nn.Linear(D, 3)

        def forward(self, x):
            return self.out(self.norm(self.map(x)) + self.added)

    return Behind()


class Steps(nn.Module):
    """A norm layer in single operations, with a scale of its own."""

    def __init__(self, shape):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(shape))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.scale


@pytest.mark.parametrize("norm", ["layer", "rms", "steps"])
def test_a_position_behind_a_norm_is_not_its_shift(norm):
    made = {
        "layer": lambda shape: behind(nn.LayerNorm, shape, normalized_shape=D),
        "rms": lambda shape: behind(nn.RMSNorm, shape, normalized_shape=D),
        "steps": lambda shape: behind(Steps, shape, shape=D),
    }[norm]
    x = torch.randn(4, PLACES, 8)
    entry = isoinit.plan(made((1, PLACES, D)), x)["added"]
    assert entry.role == "position"
    assert entry.std == pytest.approx(1, rel=0.02)
    assert isoinit.plan(made((D,)), x)["added"].std == 0  # one value a unit


def test_a_shift_as_large_as_the_scale_before_it_is_a_shift():
    model = behind(Steps, (PLACES, D), shape=(PLACES, D))
    assert isoinit.plan(model, torch.randn(4, PLACES, 8))["added"].role == "norm shift"


class Latents(nn.Module):
    """Learned queries, which join nothing but what came of themselves."""

    def __init__(self):
        super().__init__()
        self.queries = nn.Embedding(6, D)
        self.attend = nn.MultiheadAttention(D, 4, batch_first=True)

    def forward(self, x):
        queries = self.queries(torch.arange(6)).expand(len(x), 6, D)
        return queries + self.attend(queries, x, x)[0]


def test_learned_queries_stay_small():
    plan = isoinit.plan(Latents(), torch.randn(2, 9, D))
    assert plan["attend.in_proj_weight"].std == pytest.approx(D**-0.5)  # for the values
    entry = plan["queries.weight"]
    assert entry.std == pytest.approx(0.02)


class Raw(nn.Module):
    """Positions added to the input itself."""

    def __init__(self):
        super().__init__()
        self.places, self.out = nn.Embedding(PLACES, D), nn.Linear(D, 3)

    def forward(self, x):
        return self.out(self.places(torch.arange(PLACES)) + x)


def test_positions_beside_the_input_itself():
    assert isoinit.plan(Raw(), torch.randn(4, PLACES, D))["places.weight"].std == pytest.approx(1)


class Generated(nn.Module):
    """A learned code that a layer of its own reads first."""

    def __init__(self):
        super().__init__()
        self.code, self.map = nn.Parameter(torch.randn(1, 8)), nn.Linear(8, D)

    def forward(self, x):
        return x + self.map(self.code)


def test_a_code_for_a_layer_of_its_own_has_unit_size():
    plan = isoinit.plan(Generated(), torch.randn(4, D))
    assert plan["code"].std == 1
    assert plan["map.weight"].std == pytest.approx(8**-0.5, rel=0.02)


class Class(nn.Module):
    """A class token beside the patches of an image, scaled."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, D, 4, 4)
        self.token, self.places = nn.Parameter(torch.zeros(1, 1, D)), nn.Embedding(65, D)
        self.out = nn.Linear(D, 3)

    def forward(self, image):
        patches = self.patch(image).flatten(2).transpose(1, 2)
        token = self.token.expand(len(image), -1, -1) * 4
        self.sides = patches, token
        x = torch.cat([token, patches], 1) + self.places(torch.arange(65))
        return self.out(x[:, 0])


def test_a_class_token_is_as_large_as_the_patches():
    model, image = Class(), torch.randn(8, 3, 32, 32)
    isoinit.plan(model, image).apply(model, seed=0)
    model(image)
    patches, token = map(rms, model.sides)
    # 64 numbers: a relative standard error of 1/√128 = 9 %; five of them
    assert token == pytest.approx(patches, rel=0.45)


def test_seeds_that_attention_alone_reads_have_unit_size():
    """Pooling by attention (Lee et al. 2019, section 3.2): learned queries, and no residual sum."""

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.seeds = nn.Parameter(torch.randn(1, 4, D))
            self.attend = nn.MultiheadAttention(D, 4, batch_first=True)

        def forward(self, x):
            return self.attend(self.seeds.expand(len(x), 4, D), x, x)[0]

    plan = isoinit.plan(Pooled(), torch.randn(2, 9, D))
    assert plan["seeds"].std == 1
    assert plan["attend.in_proj_weight"].std == pytest.approx(D**-0.5)


def test_several_seeds_are_not_one():
    """Attention among 16 learned vectors averages them: measured on torch's own."""

    class Among(nn.Module):
        def __init__(self):
            super().__init__()
            self.seeds, self.attend = nn.Parameter(torch.randn(16, D)), nn.MultiheadAttention(D, 4)
            self.last = nn.Linear(D, 256)

        def forward(self, x):
            seeds = self.seeds[:, None].expand(16, len(x), D)
            return self.last(self.attend(seeds, seeds, seeds)[0])

    model, batch = Among(), torch.randn(4, 3)
    plan = isoinit.init(model, batch, seed=0)
    size = model(batch).detach().square().mean().sqrt().item()
    assert plan["last.weight"].expected == pytest.approx(size, rel=0.25)


class Summed(nn.Module):
    """Tokens, positions and types, added in an order."""

    def __init__(self, order, scale=1.0, tied=False):
        super().__init__()
        self.order, self.scale = order, scale
        self.tokens, self.types = nn.Embedding(100, D), nn.Embedding(2, D)
        self.places, self.norm = nn.Embedding(PLACES, D), nn.LayerNorm(D)
        self.out = nn.Linear(D, 100, bias=False)
        if tied:
            self.out.weight = self.tokens.weight

    def forward(self, tokens, types):
        part = {
            "k": lambda: self.tokens(tokens) * self.scale,
            "p": lambda: self.places(torch.arange(PLACES)),
            "t": lambda: self.types(types),
        }
        sides = []  # each side of a plus is added up first
        for side in self.order.split("+"):
            first, *others = (part[letter]() for letter in side)
            sides.append(sum(others, first))
        return self.out(self.norm(sum(sides[1:], sides[0])))


ORDERS = ["kpt", "ktp", "pkt", "ptk", "tkp", "tpk", "k+pt", "pt+k", "kt+p", "p+kt", "kp+t", "t+kp"]


@pytest.mark.parametrize(
    ("made", "size"),
    [({}, D**-0.25), ({"scale": math.sqrt(D)}, D**0.25), ({"tied": True}, 1 / math.sqrt(D))],
)
def test_neither_the_order_of_lookups_nor_that_of_sums_decides(made, size):
    tokens = torch.randint(0, 100, (4, PLACES))
    for order in ORDERS:
        plan = isoinit.plan(Summed(order, **made), (tokens, tokens % 2))
        for name in ("places.weight", "types.weight"):
            assert plan[name].std == pytest.approx(size, rel=0.02), (order, name)


def test_rows_are_as_large_as_a_signal_that_they_are_added_to():
    class Timed(nn.Module):
        def __init__(self, first):
            super().__init__()
            self.first, self.inner = first, nn.Linear(6, D)
            self.hours, self.places = nn.Embedding(24, D), nn.Embedding(PLACES, D)
            self.norm, self.out = nn.LayerNorm(D), nn.Linear(D, 1)

        def forward(self, x, hour):
            place = self.places(torch.arange(PLACES))
            signal = self.inner(x) * 3
            if self.first:
                return self.out(self.norm(signal + place + self.hours(hour)))
            return self.out(self.norm(place + self.hours(hour) + signal))

    given = torch.randn(4, PLACES, 6), torch.randint(0, 24, (4, PLACES))
    for first in (True, False):
        plan = isoinit.plan(Timed(first), given)
        assert plan["hours.weight"].std == pytest.approx(3, rel=0.1)
        assert plan["places.weight"].std == pytest.approx(3, rel=0.1)


class Waves(nn.Module):
    """Rows of a table, perhaps scaled, and sines of places that are not trained."""

    def __init__(self, scale):
        super().__init__()
        self.tokens, self.out, self.scale = nn.Embedding(100, D), nn.Linear(D, 5), scale
        phase = torch.arange(PLACES)[:, None] / 1e4 ** (torch.arange(D // 2) * 2 / D)
        self.register_buffer("waves", torch.cat([phase.sin(), phase.cos()], 1))

    def forward(self, tokens):
        return self.out(self.tokens(tokens) * self.scale + self.waves[: tokens.shape[1]])


@pytest.mark.parametrize("length", [PLACES, 5])
@pytest.mark.parametrize("scale", [1.0, math.sqrt(D)])
def test_rows_are_as_large_as_the_sines_that_are_added(length, scale):
    plan = isoinit.plan(Waves(scale), torch.randint(0, 100, (4, length)))
    assert plan["tokens.weight"].std * scale == pytest.approx(math.sqrt(0.5), rel=0.02)
    assert plan["tokens.weight"].rule == "embedding beside others"
