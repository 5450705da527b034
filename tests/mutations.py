"""Plan files that something happened to: odd values at any place, and bytes lost or changed."""

import copy
import json
from functools import cache

import torch
from torch import nn

import isoinit

ODD = [
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, -(2**63), 10**400, 0.0, -0.5, 0.5, 1.5,
    1e-320, 1e200, 1e308, float("nan"), float("inf"), float("-inf"), "", "0", "weight",
    "float32", "int8", "quint4x2", "floaty", "conv", "vector", "linear", "embedding", "kept",
    "copy", "a\0b", "\ud800", "x" * 5000, "é→", "../..", "[red]", "1:2", "block99999999999",
    "99999999999999999999:9999999999999999999999", [], [[]], [0], [0, 0], [1, 0], [3, -4],
    [True], [1.0], ["a"], [None], [2**40, 2**40], [1] * 100, {}, {"": 0}, {"a": 1},
    {"initializer": "Zeros"}, {"initializer": "Normal", "std": 10**30}, {"initializer":
    "Orthogonal", "gain": True}, {"initializer": []}, {"initializer": "Constant", "val": "1"},
    {"initializer": "Constant"}, {"initializer": "DeltaOrthogonal"}, {"initializer":
    "Variational", "base": None, "scale": 1}, {"grid": []},
]  # fmt: skip

KINDS = ["images", "tied", "copies", "gated", "kinks", "chosen", "computed", "transferred"]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 8, padding_idx=0)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        return self.head(self.layer(self.table(tokens)))


class Followed(nn.Module):
    """A network and a frozen copy of it."""

    def __init__(self):
        super().__init__()
        self.online = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, x):
        return self.online(x), self.target(x)


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4)

    def forward(self, x):
        return self.lstm(x)[0]


def images():
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(), nn.ConvTranspose2d(8, 2, 2),
    )  # fmt: skip


def perceptron():
    return nn.Sequential(
        nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)
    )


def computed():
    known = nn.utils.parametrizations
    return nn.Sequential(
        known.weight_norm(nn.Linear(4, 8)),
        nn.ReLU(),
        known.orthogonal(nn.Linear(8, 8)),
        nn.ReLU(),
        known.weight_norm(nn.Linear(8, 8)),
    )


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.last = nn.Linear(4, width), nn.Linear(width, 2)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(width // 8))

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = x + block(torch.relu(x))
        return self.last(x)


def wide():
    return Residual(16)


@cache
def plans():
    """Return plans of several kinds by name, each with what makes a model that it fits."""
    x = torch.linspace(0, 1, 20)[:, None]
    sparse = {
        "0.weight": isoinit.Sparse(density=0.5),
        "2.weight": isoinit.SparseOrthogonal(density=0.5),
        "4.weight": isoinit.Variational(isoinit.HeNormal(a=0.1), scale=0.5),
        "4.bias": isoinit.LogFrequencies((1, 2.5, 3, 4)),
    }
    torch.manual_seed(0)
    found = {
        "images": (images, torch.randn(2, 2, 12, 12), {}),
        "tied": (Tied, torch.ones(1, 5, dtype=torch.long), {}),
        "copies": (Followed, torch.randn(3, 4), {}),
        "gated": (Gated, torch.randn(5, 2, 3), {"lstm.bias_ih_l0": isoinit.GateBias()}),
        "kinks": (perceptron, x, {}),
        "chosen": (perceptron, x, sparse),
        "computed": (computed, torch.randn(6, 4), {}),
    }
    made = {}
    for name, (build, batch, overrides) in found.items():
        plan = isoinit.plan(build(), batch)
        if overrides:
            plan.override(overrides)
        made[name] = (plan, build)
    made["transferred"] = (
        isoinit.transfer(Residual(8), Residual(16), torch.randn(3, 4)).plan,
        wide,
    )
    assert list(made) == KINDS
    return made


def places(data, path=()):
    """Yield every place in JSON data, as the keys that lead there."""
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def mutated(text, rng):
    """Return a plan's text after one accident, or two."""
    for _ in range(rng.choice((1, 1, 1, 2))):
        kind = rng.choice(
            ("replace",) * 6 + ("delete", "add", "swap", "twice", "cut", "flip", "deep")
        )
        text = _changed(text, kind, rng)
    return text


def _changed(text, kind, rng):
    if kind == "cut":
        return text[: rng.randrange(len(text))]
    if kind == "flip":
        at = rng.randrange(len(text))
        return (
            text[:at]
            + chr(rng.choice((rng.randrange(128), rng.randrange(0x3000))))
            + text[at + 1 :]
        )
    if kind == "twice":  # a line once more, as a bad merge leaves it
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        return "\n".join([*lines[:at], lines[at], *lines[at:]])
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return text
    found = list(places(data)) or [()]
    *path, last = rng.choice(found) if found != [()] else ("format",)
    holder = data
    for key in path:
        holder = holder[key]
    odd = rng.choice(ODD)
    if kind == "replace":
        holder[last] = odd
    elif kind == "delete":
        del holder[last]
    elif kind == "add":
        holder.insert(last, odd) if isinstance(holder, list) else holder.update(
            {rng.choice("ab"): odd}
        )
    elif kind == "swap":
        *way, other = rng.choice(found)
        value = data
        for key in (*way, other):
            value = value[key]
        holder[last] = copy.deepcopy(value)
    elif kind == "deep":
        depth = rng.choice((3, 300, 30000))
        holder[last] = "DEEP"
        one, end = rng.choice((("[", "]"), ('{"initializer": "Variational", "base": ', "}"),
                               ('{"initializer": "Directions", "base": ', "}")))  # fmt: skip
        return json.dumps(data, indent=1).replace('"DEEP"', one * depth + "0" + end * depth)
    return json.dumps(data, indent=1)
