"""A plan file is a plan or an error that names the place; no accident writes half of a model."""

import json
import random

import pytest
import torch

import isoinit
from isoinit.errors import IsoinitError, PlanError
from isoinit.initializers import Initializer
from mutations import KINDS, mutated, plans


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read(kind):
    plan, build = plans()[kind]
    text = plan.to_json()
    again = isoinit.Plan.from_json(text)
    assert again == plan
    assert (again.digest, again.to_json()) == (plan.digest, text)
    one, two = (each.apply(build(), seed=1).state_dict() for each in (plan, again))
    assert all(torch.equal(one[name], two[name]) for name in one)


def same(before, model):
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def used(plan, other, model):
    """Do with a plan all that a plan is for; a model that it does not fit is left as it was."""
    assert isoinit.Plan.from_json(plan.to_json()) == plan
    facts = [str(plan), str(plan.diff(other)), other.diff(plan).to_json(), *plan.warnings]
    facts += [plan.explain(entry.name) for entry in plan]
    assert "".join(facts).encode()
    plan._page()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        if plan.transfer is not None:
            optimizer = torch.optim.AdamW(isoinit.Transfer(plan).groups(model, lr=1e-3))
            isoinit.Transfer(plan).verify(optimizer)
        plan.apply(model, seed=0)
    except IsoinitError:
        assert same(before, model)
    model.load_state_dict(before)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(4))
def test_two_thousand_accidents_end_with_an_error_or_a_plan(seed):
    rng = random.Random(seed)
    texts = {kind: plan.to_json() for kind, (plan, _) in plans().items()}
    models = {kind: build() for kind, (_, build) in plans().items()}
    read = 0
    for _ in range(500):
        kind = rng.choice(KINDS)
        text = mutated(texts[kind], rng)
        try:
            plan = isoinit.Plan.from_json(text)
        except PlanError:
            continue
        read += text != texts[kind]
        used(plan, plans()[kind][0], models[kind])
    assert read >= 10  # reasons, names and scales may be others


def changed(kind, path, value):
    """Return the text of a plan with another value at a place."""
    data = json.loads(plans()[kind][0].to_json())
    *way, last = path.split("/")
    holder = data
    for key in way:
        holder = holder[key]
    holder[last] = value
    return json.dumps(data)


WRONG = [
    (
        "kinks",
        "parameters/0.weight/layout/fan_in",
        "wide",
        r"parameters\.0\.weight\.layout\.fan_in: found 'wide'; expected a finite number",
    ),
    ("kinks", "parameters/0.weight/layout/fan_in", True, "found True; expected a finite number"),
    ("kinks", "parameters/0.weight/layout/fan_in", -1, "expected numbers above 0"),
    ("kinks", "parameters/0.weight/layout/shape", [16, 1.0], r"layout\.shape\.1: found 1\.0"),
    (
        "kinks",
        "parameters/0.weight/layout/shape",
        [16, -1],
        "expected at most 32 sizes of 0 or more",
    ),
    ("kinks", "parameters/0.weight/layout/shape", [2**40, 2**40], r"fewer than 2\*\*63 elements"),
    ("kinks", "parameters/0.weight/layout/shape", [4, 16], "different numbers of elements"),
    ("kinks", "parameters/0.weight/layout/out", [1], "expected each axis of grid"),
    ("kinks", "parameters/0.weight/layout/out", [1, 2], "expected each axis of grid"),
    ("kinks", "parameters/0.weight/layout/kind", "conv", "kind='conv' cannot have these axes"),
    ("kinks", "parameters/0.weight/layout/kind", "cube", "expected one of linear, conv"),
    (
        "tied",
        "parameters/table.weight/layout/padding",
        11,
        "expected null or the index of a row of shape",
    ),
    (
        "images",
        "parameters/0.weight/initializer",
        {"initializer": "Spherical"},
        "initializer does not fit: ",
    ),
    ("kinks", "parameters/0.weight/initializer/gain", float("nan"), r"gain: found nan"),
    ("kinks", "parameters/0.weight/initializer/gain", 1e308, "standard deviation|does not fit"),
    (
        "kinks",
        "parameters/0.weight/initializer/color",
        "red",
        "there is no field called 'color'; expected gain",
    ),
    (
        "kinks",
        "parameters/0.weight/color",
        "red",
        r"parameters\.0\.weight: there is no field called 'color'",
    ),
    ("kinks", "color", "red", "there is no field called 'color'"),
    ("kinks", "parameters/0.weight/must_differ", 1, "must_differ: found 1; expected true or false"),
    ("kinks", "parameters/0.weight/expected", -1.0, "a number of 0 or more"),
    ("kinks", "parameters/0.weight/target", float("inf"), "target: found inf"),
    ("kinks", "parameters/0.weight/dtype", "float33", "expected a type of torch"),
    ("kinks", "parameters/0.weight/kept", "frozen", "stays unchanged, but it has the initializer"),
    ("kinks", "parameters/0.weight/kept", "always", "expected one of ''"),
    ("kinks", "parameters/0.weight/reason", 3, "expected text"),
    ("kinks", "parameters", [], "parameters: found a list of 0; expected an object"),
    ("kinks", "parameters/0.weight", None, "found None; expected an object"),
    ("kinks", "how", "guessed", "how: found 'guessed'; expected one of fake, real, structure"),
    ("kinks", "seed", 1.5, "seed: found 1.5; expected an integer"),
    ("kinks", "seed", True, "seed: found True"),
    ("kinks", "notes", "one", "notes: found 'one'; expected a list"),
    (
        "tied",
        "aliases/head.weight",
        "table",
        r"aliases\.head\.weight: found 'table'; expected the name",
    ),
    ("tied", "aliases/table.weight", "table.weight", "is also an entry of the plan"),
    (
        "copies",
        "parameters/target.0.weight/copies",
        "nothing",
        "expected a parameter of the plan that is not itself a copy",
    ),
    ("copies", "parameters/target.0.weight/copies", "target.2.weight", "that is not itself a copy"),
    (
        "copies",
        "parameters/online.0.weight/initializer",
        {"initializer": "HeNormal"},
        "does not match",
    ),
    ("kinks", "parameters/0.bias/initializer/of", "1.weight", "expected the name of a parameter"),
    (
        "kinks",
        "parameters/0.bias/initializer/layout/shape",
        7,
        r"initializer\.layout\.shape: found 7",
    ),
    ("kinks", "version", True, "has version True, but this isoinit reads version 1"),
]


@pytest.mark.parametrize(("kind", "path", "value", "match"), WRONG, ids=lambda x: str(x)[:40])
def test_the_error_names_the_place_and_what_was_found(kind, path, value, match):
    with pytest.raises(PlanError, match=match):
        isoinit.Plan.from_json(changed(kind, path, value))


def test_a_parameter_that_stands_twice_is_not_dropped_in_silence():
    text = plans()["kinks"][0].to_json()
    with pytest.raises(PlanError, match=r"'0\.bias' appears twice"):
        isoinit.Plan.from_json(text.replace('"0.weight": {', '"0.bias": {'))


@pytest.mark.parametrize("depth", [40, 500, 100_000])
@pytest.mark.parametrize(
    ("start", "end"), [("[", "]"), ('{"a": ', "}"), ('{"initializer": "Directions", "base": ', "}")]
)
def test_depth_is_no_stack_overflow(start, end, depth):
    text = changed("kinks", "parameters/0.weight/initializer", "DEEP")
    with pytest.raises(PlanError, match=r"recursion|nested|no initializer|expected an object"):
        isoinit.Plan.from_json(text.replace('"DEEP"', f"{start * depth}0{end * depth}"))


def test_every_initializer_is_read_by_its_types():
    """A mistake in any option is found, of the types that JSON knows."""
    for entry in (entry for plan, _ in plans().values() for entry in plan):
        data = entry.to_dict()["initializer"] or {}
        for option in data.keys() - {"initializer"}:
            with pytest.raises(IsoinitError):
                Initializer.from_dict({**data, option: {"": 0}})
