"""What every initializer keeps: types, pieces, saving, refusals; and the rounding of `store`."""

import json
import math
from dataclasses import FrozenInstanceError, dataclass, fields
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers import from_bfloat16
from isoinit import initializers
from isoinit._drawing.shard import Piece
from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers import (
    ICNR,
    Assigned,
    Blocks,
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
    Ones,
    Orthogonal,
    PriorBias,
    Sparse,
    SparseInitializer,
    SparseOrthogonal,
    Spherical,
    TimeSteps,
    TruncatedNormal,
    Uniform,
    Variational,
    XavierNormal,
    XavierUniform,
    Zeros,
)
from isoinit.initializers.base import WholeInitializer, store
from isoinit.initializers.scale import fans

LINEAR = fans.linear((24, 10), 4)
CONV = fans.conv((12, 3, 3, 2), 2)

# Each initializer, with options off their defaults, and a layout that it can fill.
EACH = [
    (Constant(0.1), LINEAR),
    (Zeros(), LINEAR),
    (Ones(), LINEAR),
    (GateBias(val=0.7, gate=2, gates=3), fans.vector((12,))),
    (Identity(gain=0.3), LINEAR),
    (Dirac(), CONV),
    (Dirac(gain=0.5), CONV),
    (Uniform(-0.1, 0.3), CONV),
    (Normal(0.5, 0.02), fans.vector((7,))),
    (TruncatedNormal(0.1, 0.02, -1.0, 3.0), LINEAR),
    (XavierNormal(gain=5 / 3), CONV),
    (XavierUniform(gain=0.1), LINEAR),
    (HeNormal(nonlinearity="gelu"), LINEAR),
    (HeUniform(a=0.25, mode="fan_avg"), CONV),
    (LeCunNormal(gain=1.2), LINEAR),
    (LooksLinear(gain=0.9), fans.linear((24, 10), 3)),
    (Centred(gain=0.9), fans.linear((24, 10), 3)),
    (Centred(gain=0.9, taps="centre"), CONV),
    (LeCunUniform(), fans.linear((10, 24), 2, transposed=True)),
    (Orthogonal(gain=1.3), LINEAR),
    (Spherical(gain=0.7, sizes=(2.0, 0.5, 1.0)), fans.linear((24, 3))),
    (DeltaOrthogonal(gain=0.9), CONV),
    (Sparse(density=0.4, gain=2.0), CONV),
    (Sparse(density=0.4, pattern="random"), LINEAR),
    (Sparse(connections=3), LINEAR),
    (Sparse(pattern="block2"), LINEAR),
    (Sparse(pattern="1:5"), LINEAR),
    (Sparse(0.4), fans.embedding((9, 10), padding=2)),
    (SparseOrthogonal(0.4, gain=0.9), LINEAR),
    (SparseOrthogonal(0.4, mirror="both"), LINEAR),
    (Variational(HeUniform(), scale=0.3), LINEAR),
    (ICNR(4, Normal(std=0.1)), fans.conv((12, 3, 3, 2))),
    (LogFrequencies((3.0, 1.0, 4.0)), fans.vector((3,))),
    (PriorBias(0.1), fans.vector((5,))),
    (DecayRates(), fans.vector((5, 4))),
    (TimeSteps(), fans.vector((7,))),
    (Spherical(gain=0.8), fans.linear((24, 3))),
    (Spherical(gain=0.8, sizes=(2.0, 0.5)), fans.linear((24, 2))),
]
# What their values are is a law of its own: no other size would mean anything.
FIXED_SIZE = (DecayRates, LogFrequencies, PriorBias, TimeSteps)
FIXED = (
    Constant,
    DecayRates,
    Dirac,
    GateBias,
    Identity,
    LogFrequencies,
    Ones,
    PriorBias,
    Zeros,
)
each = pytest.mark.parametrize(("initializer", "layout"), EACH, ids=[str(row[0]) for row in EACH])


def test_each_initializer_is_in_the_table():
    public = {getattr(initializers, name) for name in initializers.__all__} - {
        Initializer,
        SparseInitializer,
        # What they draw follows from another parameter, or from layouts of their own: see their tests.
        Assigned,
        Blocks,
        Directions,
        KinkBias,
        Norms,
        initializers.bare,
    }
    assert {type(row[0]) for row in EACH} == public


# ---------------------------------------------------------------- filling


@each
def test_the_values_are_a_function_of_seed_and_name(initializer, layout, draw):
    first, again, other = (draw(initializer, layout, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    fixed = isinstance(initializer, FIXED)
    assert (first == other).all() == fixed


@each
def test_every_type_holds_the_same_values(initializer, layout, draw):
    exact = draw(initializer, layout, np.float64)
    for dtype, epsilon in ((np.float32, 2**-22), (np.float16, 2**-10), (np.uint16, 2**-7)):
        found = draw(initializer, layout, dtype)
        found = from_bfloat16(found) if dtype == np.uint16 else found.astype(np.float64)
        np.testing.assert_allclose(found, exact, rtol=epsilon, atol=1e-6)


@each
@settings(deadline=None, max_examples=50)  # the first fill of a session may load compiled kernels
@given(data=st.data())
def test_any_piece_is_that_piece_of_the_whole(initializer, layout, data):
    size = math.prod(layout.shape)
    start = data.draw(st.integers(0, size))
    count = data.draw(st.integers(0, size - start))
    dtype = data.draw(st.sampled_from([np.float32, np.float64, np.float16, np.uint16]))
    whole, piece = np.empty(size, dtype), np.empty(count, dtype)
    stream = Stream(data.draw(st.integers(-(2**70), 2**70)), "weight")
    initializer.fill(whole, stream, layout)
    initializer.fill(piece, stream, layout, start)
    np.testing.assert_array_equal(piece, whole[start : start + count])


@each
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_part_is_that_part_of_the_whole(initializer, layout, data):
    """However it is cut along its axes, or of the flattened tensor."""
    piece, flat = Piece.whole(layout.shape), Piece.whole((math.prod(layout.shape),))
    for axis in range(len(layout.shape)):
        parts = data.draw(st.integers(1, 3))
        index = data.draw(st.integers(0, parts - 1))
        cut = data.draw(st.sampled_from([Piece.shard, partial(Piece.strided_shard, factor=2)]))
        piece = cut(piece, axis, parts, index)
    flat = flat.shard(0, 3, 1).shard(0, 2, 0)
    dtype = data.draw(st.sampled_from([np.float32, np.float64, np.float16, np.uint16]))
    stream = Stream(3, "weight")
    whole = np.empty(math.prod(layout.shape), dtype)
    initializer.fill_piece(whole, stream, layout, Piece.whole(layout.shape))
    plain = np.empty_like(whole)
    initializer.fill(plain, stream, layout)
    if layout.padding is None:  # which is zero in a piece, and left to others in a fill
        np.testing.assert_array_equal(whole, plain)
    for part in (piece, flat):
        found = np.empty(math.prod(part.held), dtype)
        initializer.fill_piece(found, stream, layout, part)
        runs = [np.arange(a, a + n) for batch in part.runs() for a, n in zip(*batch, strict=True)]
        elements = np.concatenate(runs) if runs else np.empty(0, int)
        np.testing.assert_array_equal(found, whole[elements])


def test_a_row_that_stands_for_padding_is_zero_in_any_part():
    layout = fans.embedding((9, 4), padding=5)
    whole = np.empty(36, np.float32)
    HeNormal().fill_piece(whole, Stream(0, "table"), layout, Piece.whole((9, 4)))
    assert not whole[20:24].any()
    assert whole[:20].all()
    assert whole[24:].all()
    for part in (Piece.whole((9, 4)).shard(1, 2, 1), Piece.whole((36,)).shard(0, 3, 1)):
        found = np.empty(math.prod(part.held), np.float32)
        HeNormal().fill_piece(found, Stream(0, "table"), layout, part)
        runs = [np.arange(a, a + n) for batch in part.runs() for a, n in zip(*batch, strict=True)]
        np.testing.assert_array_equal(found, whole[np.concatenate(runs)])


ELEMENTWISE = [row for row in EACH if not isinstance(row[0], WholeInitializer)]


@pytest.mark.parametrize("initializer", [row[0] for row in ELEMENTWISE], ids=str)
def test_a_tensor_of_more_than_32_bits_of_elements(initializer):
    """Slices of 2**35 elements, around where an index, then a counter, leaves 32 bits."""
    layout = fans.linear((2**18, 2**17))
    stream = Stream(3, "weight")

    def piece(start, count):
        out = np.empty(count, np.float32)
        initializer.fill(out, stream, layout, start)
        return out

    for edge in (2**32, 2**34):
        whole = piece(edge - 700, 1400)
        np.testing.assert_array_equal(whole[:700], piece(edge - 700, 700))
        np.testing.assert_array_equal(whole[700:], piece(edge, 700))
        if not initializer.is_constant:
            assert (whole[700:] != piece(0, 700)).mean() > 0.99  # nothing begins anew
            assert (whole[:700] != piece(2 * edge - 700, 700)).mean() > 0.99


@each
def test_the_promised_spread_is_finite(initializer, layout):
    assert 0 <= initializer.std_for(layout) < math.inf


@each
def test_only_one_value_everywhere_is_constant(initializer, layout):
    assert initializer.is_constant == isinstance(initializer, (Constant, Zeros, Ones, PriorBias))


@pytest.mark.parametrize(
    ("initializer", "layout"),
    [row for row in EACH if not isinstance(row[0], FIXED_SIZE)],
    ids=[str(row[0]) for row in EACH if not isinstance(row[0], FIXED_SIZE)],
)
@settings(deadline=None, max_examples=25)
@given(factor=st.floats(1e-3, 1e3), dtype=st.sampled_from([np.float32, np.float64]))
def test_scaled_values_are_the_factor_times_the_values(initializer, layout, factor, dtype, draw):
    scaled = initializer.scaled(factor)
    assert scaled.std_for(layout) == pytest.approx(factor * initializer.std_for(layout), rel=1e-12)
    before, after = draw(initializer, layout, dtype), draw(scaled, layout, dtype)
    largest = factor * np.abs(before).max()
    np.testing.assert_allclose(after, factor * before, rtol=1e-6, atol=1e-6 * largest)
    assert Initializer.from_dict(json.loads(json.dumps(scaled.to_dict()))) == scaled
    assert initializer.scaled(1.0).std_for(layout) == initializer.std_for(layout)


@each
def test_what_is_no_factor_is_refused(initializer, layout):
    for factor in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ArgumentError, match="expected a factor that is finite and above 0"):
            initializer.scaled(factor)


# ---------------------------------------------------------------- data


@each
def test_saved_and_read_back(initializer, layout):
    text = json.dumps(initializer.to_dict(), allow_nan=False)
    again = Initializer.from_dict(json.loads(text))
    assert again == initializer
    assert hash(again) == hash(initializer)
    assert type(again) is type(initializer)


@each
def test_printed_and_frozen(initializer, layout):
    assert str(initializer).startswith(type(initializer).__name__)
    for field in fields(initializer):
        with pytest.raises(FrozenInstanceError):
            setattr(initializer, field.name, 1)


@pytest.mark.parametrize(
    ("initializer", "shown"),
    [
        (Zeros(), "Zeros()"),
        (TruncatedNormal(std=0.02), "TruncatedNormal(std=0.02)"),
        (HeNormal(gain=2.0), "HeNormal(gain=2)"),
        (Variational(LeCunNormal()), "Variational(LeCunNormal())"),
    ],
)
def test_defaults_are_not_printed(initializer, shown):
    assert str(initializer) == shown


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"initializer": "HeNomral"}, "'HeNomral'.*HeNormal"),
        ({"initializer": "WholeInitializer"}, "'WholeInitializer'"),
        ({"initializer": "_He"}, "'_He'"),
        ({"initializer": ["Zeros"]}, "Zeros"),
        ({}, "None"),
        (
            {"initializer": "Normal", "sigma": 1},
            "there is no field called 'sigma'; expected mean, std",
        ),
        ({"initializer": "Constant"}, "Constant.*'val'"),
        ({"initializer": "Normal", "std": "wide"}, "std: found 'wide'; expected a finite number"),
        ({"initializer": "Normal", "std": -1}, "std=-1"),
        ({"initializer": "Uniform", "a": {"initializer": "Zeros"}}, "a: found an object"),
        ({"initializer": "HeNormal", "nonlinearity": ["relu"]}, "nonlinearity: found a list"),
        ({"initializer": "Variational", "base": {"initializer": "Nothing"}}, "'Nothing'"),
    ],
)
def test_bad_data_is_refused(data, named):
    with pytest.raises(ArgumentError, match=named):
        Initializer.from_dict(data)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", None, True, 10**400, [1]])
def test_an_option_must_be_a_finite_number(value):
    with pytest.raises(ArgumentError, match=r"Constant\(val=.*finite number"):
        Constant(value)


def test_an_initializer_of_ones_own():
    """A subclass fills, saves and loads like those of the library."""

    @dataclass(frozen=True)
    class Alternating(Initializer):
        size: float = 1.0

        def std_for(self, layout):
            return self.size

        def fill(self, out, stream, layout, start=0):
            out[:] = self.size * (1 - 2 * (np.arange(start, start + out.size) % 2))

    try:
        assert Initializer.from_dict(Alternating(0.5).to_dict()) == Alternating(0.5)
        with pytest.raises(ArgumentError, match="no option for its scale"):
            Alternating(0.5).scaled(2.0)
    finally:
        del Initializer._by_name["Alternating"]


# ---------------------------------------------------------------- rounding

singles = st.floats(width=32, allow_nan=False)


@given(st.lists(singles, min_size=1, max_size=50))
def test_bfloat16_is_rounded_as_torch_rounds(values):
    out = np.empty(len(values), np.uint16)
    store(np.array(values), out)
    expected = torch.tensor(values, dtype=torch.float32).bfloat16().view(torch.int16)
    np.testing.assert_array_equal(out.view(np.int16), expected.numpy())


@given(st.lists(singles.filter(lambda x: abs(x) < 65504), min_size=1, max_size=50))
def test_float16_is_rounded_as_torch_rounds(values):
    out = np.empty(len(values), np.float16)
    store(np.array(values), out)
    expected = torch.tensor(values, dtype=torch.float32).half()
    np.testing.assert_array_equal(out, expected.numpy())


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0, 0x3F80),
        (1 + 2**-8, 0x3F80),  # a tie, down to even
        (1 + 3 * 2**-8, 0x3F82),  # a tie, up to even
        (-1 - 2**-8 - 2**-20, 0xBF81),
        (3.4e38, 0x7F80),  # beyond the largest: infinite
    ],
)
def test_bfloat16_ties_go_to_even(value, bits):
    out = np.empty(1, np.uint16)
    store(np.array([value]), out)
    assert out[0] == bits
