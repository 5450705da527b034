"""Patterns mean what they say; a mapping of them is taken whole or not at all."""

import copy

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

import isoinit
from isoinit import Constant, HeNormal, Normal, Ones, Orthogonal, XavierNormal, Zeros
from isoinit.errors import ArgumentError, UnknownParameterError

X = torch.zeros(1, 8)


def network():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


@pytest.fixture
def plan():
    return isoinit.plan(network(), X)


@pytest.fixture(scope="module")
def gpt2():
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=99, **ends))


def given(plan, initializer):
    return {entry.name for entry in plan if entry.initializer == initializer}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.bias", ["0.bias", "2.bias"]),
        ("?.bias", ["0.bias", "2.bias"]),
        ("[2-9].*", ["2.weight", "2.bias"]),
        ("*", ["0.weight", "0.bias", "2.weight", "2.bias"]),
        ("2.bias", ["2.bias"]),
        ("role:bias", ["0.bias", "2.bias"]),
        ("role:weight before relu", ["0.weight"]),
        ("role:weight*", ["0.weight", "2.weight"]),
    ],
)
def test_names_globs_and_roles(plan, pattern, names):
    plan[pattern] = Constant(3.0)
    assert given(plan, Constant(3.0)) == set(names)
    other = isoinit.plan(network(), X)
    other.override({pattern: Constant(3.0)})
    assert other == plan


def test_a_transformer(gpt2):
    plan = isoinit.plan(gpt2)
    before = copy.deepcopy(plan)
    plan.override(
        {
            "*.c_attn.weight": Normal(std=0.02),
            "role:embedding*": Normal(std=0.01),
            "role:weight ending a residual branch": Orthogonal(),
            "transformer.h.1.mlp.c_proj.weight": Zeros(),
        }
    )
    t = "transformer."
    assert given(plan, Normal(std=0.02)) >= {f"{t}h.{i}.attn.c_attn.weight" for i in range(2)}
    assert given(plan, Normal(std=0.01)) == {f"{t}wte.weight"}
    ends = {f"{t}h.{i}.{part}.c_proj.weight" for i in range(2) for part in ("attn", "mlp")}
    assert given(plan, Orthogonal()) == ends - {f"{t}h.1.mlp.c_proj.weight"}
    assert plan[f"{t}h.1.mlp.c_proj.weight"].initializer == Zeros()
    assert plan[f"{t}wte.weight"].reason == "set by hand for 'role:embedding*'"
    assert plan[f"{t}h.1.mlp.c_proj.weight"].reason == "set by hand"
    changed = {name for name in plan.entries if plan[name] != before[name]}
    assert changed == ends | {f"{t}h.{i}.attn.c_attn.weight" for i in range(2)} | {f"{t}wte.weight"}


@pytest.mark.parametrize("pattern", ["lm_head.weight", "lm_head.*", "lm_*"])
def test_another_name_of_a_tied_parameter_is_a_name(gpt2, pattern):
    plan = isoinit.plan(gpt2, overrides={pattern: Normal(std=0.5)})
    assert given(plan, Normal(std=0.5)) == {"transformer.wte.weight"}


@pytest.mark.parametrize("turn", [1, -1])
def test_a_name_decides_over_patterns_in_any_order(plan, turn):
    overrides = {"*.bias": Ones(), "role:bias": Constant(2.0), "2.*as": Zeros()}
    names = {"0.bias": Constant(3.0), "2.bias": Constant(4.0)}
    plan.override(dict(list({**overrides, **names}.items())[::turn]))
    assert plan["0.bias"].initializer == Constant(3.0)
    assert plan["2.bias"].initializer == Constant(4.0)


def test_patterns_that_agree_do_not_contradict(plan):
    plan.override({"*.bias": Ones(), "role:bias": Ones()})
    assert given(plan, Ones()) == {"0.bias", "2.bias"}


def test_a_name_that_exists_is_never_read_as_a_glob():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_parameter("a[b]", nn.Parameter(torch.zeros(4)))
            self.register_parameter("ab", nn.Parameter(torch.zeros(4)))
            self.register_parameter("role:bias", nn.Parameter(torch.zeros(4)))

        def forward(self, x):
            return x + self._parameters["a[b]"] + self.ab + self._parameters["role:bias"]

    for name in ("a[b]", "role:bias"):
        plan = isoinit.plan(Odd(), torch.zeros(1, 4), overrides={name: Constant(5.0)})
        assert given(plan, Constant(5.0)) == {name}


def test_plan_and_init_take_the_same_mapping(plan):
    overrides = {"*.bias": Ones(), "role:weight before*": Orthogonal(), "2.weight": Normal(std=0.1)}
    plan.override(overrides)
    at_once = isoinit.plan(network(), X, overrides=overrides)
    assert not at_once.diff(plan)
    # What was known beforehand is in what is expected; what was set later is not.
    assert at_once["2.weight"].expected is not None
    assert plan["2.weight"].expected is None
    one, two = network(), network()
    assert not isoinit.init(one, X, seed=7, overrides=overrides).diff(plan)
    plan.apply(two, seed=7)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))
    assert isoinit.plan(network(), X, overrides={}) == isoinit.plan(network(), X)


WRONG = [
    ({"*.bais": Zeros()}, UnknownParameterError, r"matches '\*\.bais' among 4\. .*'\*\.bias'"),
    ({"2.bais": Zeros()}, UnknownParameterError, r"called '2\.bais' among 4\. .*'2\.bias'"),
    ({"": Zeros()}, UnknownParameterError, "no parameter is called ''"),
    ({"role:baises": Zeros()}, UnknownParameterError, "no role is or matches 'baises'.*'bias'"),
    ({"role:norm*": Zeros()}, UnknownParameterError, r"no role .* 'norm\*' among 3"),
    ({"role:xyz": Zeros()}, UnknownParameterError, "they are 'weight before relu', 'bias', 'we"),
    ({"*": XavierNormal()}, ArgumentError, r"'\*' does not fit '0\.bias': .*needs a weight"),
    ({"role:bias": HeNormal()}, ArgumentError, r"'role:bias' does not fit '0\.bias'.*nothing was"),
    (
        {"*.bias": Ones(), "role:bias": Zeros()},
        ArgumentError,
        r"'\*\.bias' gives '0\.bias' Ones\(\) and 'role:bias' gives it Zeros\(\); nothing was",
    ),
    ({"*.bias": Ones(), "2.*": Zeros()}, ArgumentError, r"'2\.bias' Ones\(\) and '2\.\*' gives it"),
    ({"*.bias": 0.0}, ArgumentError, r"override of '\*\.bias' is 0\.0; expected an initializer"),
    ({"*.bias": None}, ArgumentError, "is None; expected an initializer"),
    ({"*.bias": Zeros}, ArgumentError, "expected an initializer such as isoinit.Zeros()"),
    ({0: Zeros()}, ArgumentError, "found the key 0; expected the name of a parameter, a glob"),
    ([("*.bias", Zeros())], ArgumentError, "overrides is a list; expected a dict"),
    ("*.bias", ArgumentError, "overrides is a str; expected a dict"),
]


@pytest.mark.parametrize(("overrides", "error", "match"), WRONG, ids=[str(row[0]) for row in WRONG])
def test_what_cannot_be_is_refused_and_nothing_is_changed(plan, overrides, error, match):
    if isinstance(overrides, dict):
        overrides = {"0.weight": Orthogonal(), **overrides}  # which would do, alone
    before, model = copy.deepcopy(plan), network()
    values = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(error, match=match):
        plan.override(overrides)
    with pytest.raises(error, match=match):
        isoinit.init(model, X, overrides=overrides, seed=0)
    assert plan == before
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), values, strict=True))


def test_two_names_of_one_parameter_that_contradict(gpt2):
    overrides = {"lm_head.weight": Zeros(), "transformer.wte.weight": Ones()}
    with pytest.raises(ArgumentError, match=r"'lm_head\.weight' gives 'transformer\.wte\.weight'"):
        isoinit.plan(gpt2, overrides=overrides)
