"""What a type cannot hold is refused for every initializer, before anything is written."""

import copy
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

import isoinit
from isoinit import functional
from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream, laws, philox
from isoinit.errors import ArgumentError, PlanError
from isoinit.initializers import (
    ICNR,
    Assigned,
    Centred,
    Constant,
    DecayRates,
    DeltaOrthogonal,
    Dirac,
    Directions,
    GateBias,
    HeNormal,
    HeUniform,
    Identity,
    Initializer,
    KinkBias,
    LeCunNormal,
    LeCunUniform,
    LogFrequencies,
    LooksLinear,
    Normal,
    Norms,
    Orthogonal,
    PriorBias,
    Sparse,
    SparseOrthogonal,
    Spherical,
    TimeSteps,
    TruncatedNormal,
    Uniform,
    Variational,
    XavierNormal,
    XavierUniform,
)
from isoinit.initializers.scale import fans

LINEAR, VECTOR, CONV = fans.linear((32, 16)), fans.vector((32,)), fans.conv((32, 4, 3, 3))
FEW = fans.linear((32, 2))
SIZED = [
    (Constant(1.0), LINEAR),
    (GateBias(-1.0), VECTOR),
    (Identity(), LINEAR),
    (Dirac(), CONV),
    (Uniform(-0.5, 1.0), LINEAR),
    (Normal(0.5, 1.0), LINEAR),
    (TruncatedNormal(0.5, 1.0, -1, 7), LINEAR),
    (XavierNormal(), CONV),
    (XavierUniform(), LINEAR),
    (HeNormal(), LINEAR),
    (HeUniform(), CONV),
    (LeCunNormal(), LINEAR),
    (LeCunUniform(), LINEAR),
    (Orthogonal(), LINEAR),
    (DeltaOrthogonal(), CONV),
    (Centred(), LINEAR),
    (Centred(taps="centre"), CONV),
    (LooksLinear(), LINEAR),
    (LooksLinear(mirror="out"), CONV),
    (Sparse(connections=3), LINEAR),
    (Sparse(density=0.2, pattern="random"), LINEAR),
    (Sparse(pattern="1:4"), LINEAR),
    (SparseOrthogonal(density=0.3), LINEAR),
    (ICNR(4), CONV),
    (Variational(), LINEAR),
    (Variational(Orthogonal()), LINEAR),
    (Spherical(sizes=(0.5, 20.0)), FEW),
    (Directions(HeNormal()), LINEAR),
    (Assigned(HeNormal(), "weight", LINEAR, direct=True), LINEAR),
]
LAYER = {"of": "weight", "layout": FEW}
KINKS = {"centre": (3.0, -50.0), "sizes": (0.5, 20.0)}
DERIVED = [  # whose size is that of another, or of their data
    (Norms(HeNormal(), "weight", LINEAR), VECTOR),
    (Norms(Orthogonal(), "weight", LINEAR, axis=None), fans.vector((1,))),
    (KinkBias(Spherical(sizes=(0.5, 20.0)), **LAYER, **KINKS), VECTOR),
    (KinkBias(HeNormal(), **LAYER, **KINKS), VECTOR),
    (LogFrequencies([1] * 31 + [500]), VECTOR),
    (PriorBias(1e-6), VECTOR),
    (DecayRates(), LINEAR),
    (TimeSteps(1e-5, 30.0), VECTOR),
]
TORCH = {"float16": torch.float16, "uint16": torch.bfloat16, "float32": torch.float32}


def names(case):
    return str(case) if isinstance(case, Initializer) else ""


def filled(initializer, layout, dtype, seed=0):
    out = np.full(math.prod(layout.shape), 7, dtype)
    initializer.fill(out, Stream(seed, "weight"), layout)
    if dtype == "uint16":
        return torch.from_numpy(out.view(np.int16)).view(torch.bfloat16).double().numpy()
    return out.astype(float)


def refused(initializer, layout, dtype, match):
    """No value is written, whichever door is taken."""
    out, stream = np.full(math.prod(layout.shape), 7, dtype), Stream(0, "weight")
    with pytest.raises(ArgumentError, match=match):
        initializer.fill(out, stream, layout)
    with pytest.raises(ArgumentError, match=match):
        initializer.fill_piece(out, stream, layout, Piece.whole(layout.shape))
    assert (out == 7).all()


@pytest.mark.parametrize(("initializer", "layout"), SIZED + DERIVED, ids=names)
def test_no_draw_is_larger_than_the_bound(initializer, layout):
    """And the bound is no more than ten times the largest of a few draws."""
    most = initializer.largest_for(layout)
    drawn = max(np.abs(filled(initializer, layout, "float64", s)).max() for s in range(8))
    assert drawn <= most * (1 + 1e-6)
    assert most < 10 * drawn


@pytest.mark.parametrize("dtype", ["float16", "uint16", "float32"])
@pytest.mark.parametrize(("initializer", "layout"), SIZED, ids=names)
def test_the_largest_number_of_a_type_is_the_end(initializer, layout, dtype):
    """Scaled to 0.999 of it, all values are finite; scaled to 1.001 of it, they are refused."""
    greatest = torch.finfo(TORCH[dtype]).max
    most = initializer.largest_for(layout)
    if isinstance(initializer, Directions) or dtype != "float16":  # the rest is the same mechanism
        with pytest.raises(ArgumentError, match="expected"):
            initializer.scaled(1.001 * greatest / most).require_fit(layout, np.dtype(dtype))
        return
    assert np.isfinite(filled(initializer.scaled(0.999 * greatest / most), layout, dtype)).all()
    refused(initializer.scaled(1.001 * greatest / most), layout, dtype, "in magnitude.*wider dtype")


@pytest.mark.parametrize(("initializer", "layout"), SIZED, ids=names)
def test_what_rounds_to_zero_is_refused(initializer, layout):
    """Values far below the least of a type, 2**-24, are; those of 16 times it are told apart."""
    size = np.abs(filled(initializer, layout, "float64"))
    typical = math.sqrt(np.square(size[size > 0]).mean())
    if not isinstance(initializer, Directions):  # which has ones where there is nothing
        assert filled(initializer.scaled(2**-20 / typical), layout, "float16").any()
    refused(initializer.scaled(2**-28 / typical), layout, "float16", "apart|rounds to 0")


@pytest.mark.parametrize(
    ("initializer", "layout"),
    [
        (Norms(Normal(0, 1e4), "weight", LINEAR), VECTOR),
        (KinkBias(Normal(0, 1e4), **LAYER, **KINKS), VECTOR),
        (TimeSteps(1e-3, 1e6), VECTOR),
    ],
    ids=names,
)
def test_what_is_derived_is_refused_too(initializer, layout):
    refused(initializer, layout, "float16", "in magnitude.*wider dtype")


# ---------------------------------------------------------------- the two criteria


def test_no_normal_deviate_is_larger_than_the_bound():
    """Of the least words, with every quarter's largest sine: 6.76375 is reached, 6.7638 is not."""
    words = np.zeros((1, 4, 256), np.uint32)
    words[:, 0::2] = np.arange(256) // 2 * np.where(np.arange(256) % 2, 1, 2**8)
    words[:, 1::2] = np.where(np.arange(256) % 4 < 2, 0, 0x3FFFFFFF)
    most = np.abs(philox.normal(words)).max()
    assert most == pytest.approx(math.sqrt(66 * math.log(2)), rel=1e-6)
    assert most < laws.NORMAL_MOST < 6.764


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("x", [0.0, 1e-9, 1.0, 1.5, -2.0, 1e4, 3e-5])
def test_steps_are_those_of_numpy(dtype, x):
    kind = np.dtype(dtype).type
    toward = abs(float(np.nextafter(abs(kind(x)), kind(np.inf)))) - abs(float(kind(x)))
    assert laws._FORMATS[np.dtype(dtype)].step(float(kind(x))) == toward


@pytest.mark.parametrize(
    ("dtype", "mean", "std", "held"),
    [
        ("uint16", 1.0, 0.02, True),  # DCGAN's norm scales
        ("uint16", 1e4, 1e-3, False),  # 64 apart
        ("float16", 1e4, 1e-3, False),  # 8 apart
        ("float16", 1e4, 2.1, True),
        ("float32", 1e4, 1e-3, True),
        ("float32", 1.0, 1e-8, False),
        ("float32", 0.0, 1e-46, False),
        ("float64", 1.0, 1e-8, True),
        ("float16", 0.0, 2**-26, True),
        ("float16", 0.0, 0.99 * 2**-26, False),
        ("float16", 1e4, 0.0, True),
    ],
)
def test_a_spread_below_a_quarter_of_a_step_is_refused(dtype, mean, std, held):
    if held:
        distinct = np.unique(filled(Normal(mean, std), LINEAR, dtype))
        assert len(distinct) > 1 or not std
        return
    refused(Normal(mean, std), LINEAR, dtype, "apart, so that nearly all")
    half = math.sqrt(3) * std
    if std > 1e-40:
        refused(Uniform(mean - half, mean + half), LINEAR, dtype, "apart|lies between")


@pytest.mark.parametrize("value", [2**-25, -1e-9, 1e-300])
def test_a_constant_that_would_be_zero_is_refused(value):
    for initializer in (Constant(value), Normal(value, 0.0)):
        refused(initializer, VECTOR, "float16", "rounds to 0")
    refused(GateBias(value), VECTOR, "float16", "rounds to 0")
    assert filled(Constant(2**-24), VECTOR, "float16").all()
    assert not filled(Constant(-0.0), VECTOR, "float16").any()


def test_complex_parts_are_looked_at():
    with pytest.raises(ArgumentError, match="wider dtype"):
        Normal(0, 1e38).require_fit(LINEAR, np.dtype(np.complex64))
    Normal(0, 1e37).require_fit(LINEAR, np.dtype(np.complex64))
    with pytest.raises(ArgumentError, match="wider dtype"):
        Constant(1e39).require_fit(LINEAR, np.dtype(np.complex64))


# ---------------------------------------------------------------- every door


@pytest.fixture(scope="module")
def planned():
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    model = model.half()
    return model, isoinit.plan(model)


@pytest.mark.parametrize("bad", [Normal(std=1e5), Orthogonal(1e6), Normal(std=1e-9)], ids=str)
def test_a_plan_refuses_it_when_it_is_set(planned, bad):
    model, plan = planned
    with pytest.raises(ArgumentError, match=r"does not fit '0.weight'.*nothing was changed"):
        plan.override({"0.weight": bad})
    with pytest.raises(ArgumentError, match=r"does not fit '0.weight'.*float16"):
        isoinit.plan(model, overrides={"0.weight": bad})


@pytest.mark.parametrize("bad", [Normal(std=1e5), Orthogonal(1e6)], ids=str)
def test_nothing_is_written(planned, bad, tmp_path):
    """A plan of float32, which holds it, is edited by hand to be one of float16."""
    model, path = planned[0], tmp_path / "plan.json"
    isoinit.plan(copy.deepcopy(model).float(), overrides={"0.weight": bad}).save(path)
    edited = isoinit.Plan.load(path)
    path.write_text(path.read_text().replace("float32", "float16"))
    with pytest.raises(PlanError, match=r"parameters\.0\.weight: .*does not fit: .*float16"):
        isoinit.Plan.load(path)
    edited.entries.update({n: replace(e, dtype="float16") for n, e in edited.entries.items()})
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with pytest.raises(PlanError, match=r"nothing was changed: '0.weight'.*float16"):
        edited.apply(model, seed=0)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    with pytest.raises(PlanError, match=r"nothing was written: '0.weight'.*float16"):
        isoinit.write_checkpoint(edited, model, tmp_path / "folder", seed=0)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("bad", [Normal(std=1e5), Orthogonal(1e6)], ids=str)
def test_no_slice_is_written(bad):
    for target in (torch.full((8, 16), 7.0).half(), np.full((8, 16), 7, np.float16)):
        with pytest.raises(ArgumentError, match="float16"):
            isoinit.fill_slice(target, bad, "w", (32, 16), (slice(0, 8),))
        assert (target == 7).all()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_functions_refuse_it(device):
    tensor = torch.full((32, 16), 7.0, dtype=torch.float16, device=device)
    calls = [
        lambda: functional.normal_(tensor, std=1e5),
        lambda: functional.uniform_(tensor, -1e6, 1e6),
        lambda: functional.trunc_normal_(tensor, std=1e5, a=-2e5, b=2e5),
        lambda: functional.constant_(tensor, 1e5),
        lambda: functional.orthogonal_(tensor, 1e6),
        lambda: functional.xavier_uniform_(tensor, 1e6),
    ]
    for call in calls:
        with pytest.raises(ArgumentError, match="float16"):
            call()
    assert tensor.is_meta or (tensor == 7).all()


# ---------------------------------------------------------------- options

NOT_NUMBERS = [
    *[math.nan, math.inf, -math.inf, True, 1j, 10**400, -(10**400), np.bool_(True)],
    *[torch.tensor(0.5), np.array(0.5), np.array([0.5]), "0.5", None, [0.5], Fraction(10**400)],
]
TAKERS = {
    "Normal.std": lambda v: Normal(0, v),
    "Uniform.a": lambda v: Uniform(v, 1.0),
    "TruncatedNormal.a": lambda v: TruncatedNormal(0, 1, v, 10.0),
    "Constant": Constant,
    "Orthogonal": Orthogonal,
    "HeNormal.a": lambda v: HeNormal(a=v),
    "GateBias.gate": lambda v: GateBias(1.0, v),
    "LogFrequencies": lambda v: LogFrequencies((1, v)),
    "PriorBias": PriorBias,
    "TimeSteps": lambda v: TimeSteps(1e-3, v),
    "Spherical.sizes": lambda v: Spherical(1.0, (1.0, v)),
    "Sparse.gain": lambda v: Sparse(gain=v),
    "scaled": lambda v: Normal().scaled(v),
}
BASES = {
    "Norms": lambda v: Norms(v, "w", LINEAR),
    "Directions": Directions,
    "Assigned": lambda v: Assigned(v, "w", LINEAR),
    "KinkBias": lambda v: KinkBias(v, **LAYER, **KINKS),
    "Variational": Variational,
    "Norms.axis": lambda v: Norms(Normal(), "w", LINEAR, v),
}


@pytest.mark.parametrize("taker", TAKERS)
def test_what_is_no_finite_number_is_refused(taker):
    for value in NOT_NUMBERS:
        with pytest.raises(ArgumentError, match="expected"):
            TAKERS[taker](value)


@pytest.mark.parametrize("taker", BASES)
def test_what_is_no_initializer_is_refused(taker):
    for value in [1j, True, "Normal", torch.tensor(0.5), Normal, 10**400]:
        with pytest.raises(ArgumentError, match="expected"):
            BASES[taker](value)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.int64, Fraction])
def test_numbers_of_numpy_become_pythons(kind):
    initializer = Normal(kind(2), std=kind(1))
    assert initializer == Normal(2, 1)
    assert {type(initializer.mean), type(initializer.std)} <= {int, float}
    assert Initializer.from_dict(initializer.to_dict()) == initializer
    assert LogFrequencies(np.array([1, 2], np.int64)) == LogFrequencies([1.0, 2.0])
    assert LogFrequencies(torch.tensor([1.0, 2.0])) == LogFrequencies([1.0, 2.0])


def test_a_tensor_of_no_axes_is_told_what_to_do():
    with pytest.raises(ArgumentError, match=r"Pass its \.item\(\)"):
        Normal(std=torch.tensor(0.5))


@pytest.mark.parametrize("make", [lambda: Spherical(1.0, (1e-200, 1.0)), lambda: Orthogonal(1e308)])
def test_scales_beyond_every_type_are_refused_without_overflow(make):
    layout = FEW if isinstance(make(), Spherical) else LINEAR
    refused(make(), layout, "float32", "in magnitude")
    with pytest.raises(ArgumentError, match="finite high/low"):
        TimeSteps(1e-320, 1.0)
