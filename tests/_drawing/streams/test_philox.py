"""The definition: published words, exact arithmetic, and the error of every polynomial."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isoinit._drawing.streams import Stream, philox

# Random123 1.14 (Salmon et al.), tests/kat_vectors, "philox4x32 10": counter, key, words.
KNOWN_ANSWERS = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_published_words(counter, key, words):
    assert tuple(map(int, philox.philox4x32(counter, key))) == words


@pytest.mark.parametrize("element", [0, 255, 256, 1023, 1024, 5000, 2**32 + 777, 2**45 + 3])
def test_an_element_owns_the_word_that_the_layout_says(element):
    key = (0xA4093822, 0x299F31D0, 0x13198A2E, 0x03707344)
    block, lane, j = element >> 10, (element >> 8) & 3, element & 255
    position = block * 256 + j
    counter = (position & 0xFFFFFFFF, position >> 32, *key[2:])
    expected = philox.philox4x32(counter, key[:2])[lane]
    words = philox.block_words(key, block, 1)
    assert words.shape == (1, 4, 256)
    assert words.reshape(-1)[element % 1024] == expected


def philox_in_integers(counter, key):
    """Salmon et al. 2011, section 3.2, in Python's own integers."""
    x, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [(b >> 32) ^ x[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ x[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return x


# The counter passes 2**32 with element 2**34, and the tensor has more than 2**32 elements before.
@pytest.mark.parametrize("block", [0, 2**22 - 1, 2**22, 2**24 - 1, 2**24, 2**50 + 12345])
@pytest.mark.parametrize("j", [0, 100, 255])
def test_values_from_first_principles(block, j):
    """Words by integers, then Box and Muller 1958 and the inverse normal in 40 digits."""
    stream = Stream(5, "layer.weight")
    k0, k1, c2, c3 = philox.key_words(stream.key())
    position = 256 * block + j
    words = philox_in_integers((position & 0xFFFFFFFF, position >> 32, c2, c3), (k0, k1))
    values = {}
    for method in ("uniform", "normal", "truncated_normal"):
        out = np.empty(1024, np.float32)
        getattr(stream, method)(out, 1024 * block)
        values[method] = out[j::256].tolist()
    assert values["uniform"] == [(word >> 8) / 2**24 for word in words]
    with mpmath.workdps(40):
        half = mpmath.mpf(0.5)
        for pair in (0, 2):
            radius = mpmath.sqrt(-2 * mpmath.log((words[pair] + half) / 2**32))
            angle = mpmath.pi / 2 * ((words[pair + 1] & 0x3FFFFFFF) + half) / 2**30
            up, across = words[pair + 1] >> 30 & 1, words[pair + 1] >> 31
            expected = [(-1) ** across * radius * mpmath.cos(angle)]
            expected += [(-1) ** up * radius * mpmath.sin(angle)]
            found = values["normal"][pair : pair + 2]
            assert found == pytest.approx([float(z) for z in expected], rel=5e-7)
        share = mpmath.erf(mpmath.sqrt(2))  # of a normal within 2 σ
        expected = [mpmath.erfinv(share * ((w + half) / 2**31 - 1)) for w in words]
    expected = [float(z) * math.sqrt(2) for z in expected]
    assert values["truncated_normal"] == pytest.approx(expected, rel=5e-7, abs=5e-7)


def rounded_once(exact: Fraction) -> np.float32:
    """The float32 nearest to an exact number, ties to even."""
    near = np.float32(float(exact))  # perhaps rounded twice: then a neighbour is the right one
    candidates = (
        np.nextafter(near, np.float32(-np.inf)),
        near,
        np.nextafter(near, np.float32(np.inf)),
    )
    return min(
        candidates, key=lambda v: (abs(Fraction(float(v)) - exact), int(v.view(np.uint32)) & 1)
    )


finite = st.floats(width=32, min_value=-(2.0**60), max_value=2.0**60, allow_subnormal=True)
near_one = st.integers(0, 2**24).map(lambda n: float(np.float32(1 + n * 2.0**-23)))


@given(finite | near_one, finite | near_one, finite | near_one)
@example(1 + 2.0**-12, 1 + 2.0**-12, 2.0**-60)  # a tie in float32, broken by the smallest bit
@example(1 + 2.0**-12, 1 + 2.0**-12, -(2.0**-60))
@example(2.0**-100, 2.0**-49, 2.0**-149)  # subnormal
@example(3.0, -1.0, 3.0)
def test_fma_rounds_once(a, b, c):
    a, b, c = map(np.float32, (a, b, c))
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    assert philox.fma32(a, b, c) == rounded_once(exact)


def sample_words(count: int) -> np.ndarray:
    """Both ends of the range, both sides of the seams, and random ones between."""
    seams = [0, 1, 2, 3, 255, 2**23, 2**24, 2**30, 2**31, philox.ABOVE_SQRT_HALF, 2**32 - 256]
    ends = [w for s in seams for w in (s - 1, s, s + 1) if w >= 0] + [2**32 - 2, 2**32 - 1]
    random = np.random.default_rng(0).integers(0, 2**32, count, dtype=np.uint32)
    return np.concatenate([np.array(ends, np.uint32), random])


def worst_relative(values: np.ndarray, exact: list) -> float:
    return max(float(abs(mpmath.mpf(float(v)) / e - 1)) for v, e in zip(values, exact, strict=True))


def test_radius_error():
    words = sample_words(3000)
    with mpmath.workdps(40):
        exact = [mpmath.sqrt(-2 * mpmath.log((int(w) + mpmath.mpf(0.5)) / 2**32)) for w in words]
        assert worst_relative(philox._radius(words), exact) < 2.4e-7  # 2 units of 2**-23


def test_radius_is_never_zero_or_infinite():
    radius = philox._radius(sample_words(10))
    assert radius.min() > 1.5e-5
    assert radius.max() == pytest.approx(6.7637, abs=1e-4)  # sqrt(66 log 2)


def test_sine_error():
    words = sample_words(3000) >> np.uint32(2)
    with mpmath.workdps(40):
        exact = [mpmath.sin(mpmath.pi / 2 * (int(w) + mpmath.mpf(0.5)) / 2**30) for w in words]
        assert worst_relative(philox._quarter_sine(words), exact) < 2.4e-7


@pytest.mark.parametrize(
    ("low", "high", "bound"),
    [
        (-2, 2, 5e-7),
        (-3, 3, 5e-7),
        (-8, 8, 1e-6),
        (4, 5, 1e-6),
        (-10.5, -10, 1e-6),
        (0.5, 30, 1e-6),
    ],
)
def test_inverse_error(low, high, bound):
    """Against the inverse in 40 digits, relative to max(|z|, 1).

    Near z = 0 the probability itself carries 2**-25, a fixed error of z.
    """
    words = sample_words(300)
    with mpmath.workdps(40):
        # Tails by erfc, so that none is a difference from 1.
        below = mpmath.erfc(-mpmath.mpf(low) / mpmath.sqrt(2)) / 2
        above = mpmath.erfc(mpmath.mpf(high) / mpmath.sqrt(2)) / 2
        mass = mpmath.ncdf(-low) - above if low > 0 else 1 - below - above
        step = mass / 2**32
        z = philox.truncated_normal(
            words, float(below + step / 2), float(above + step / 2), float(step)
        )
        for value, word in zip(z, words, strict=True):
            v = mpmath.mpf(float(value))
            left = below + (int(word) + mpmath.mpf(0.5)) * step
            right = above + (2**32 - 1 - int(word) + mpmath.mpf(0.5)) * step
            # One Newton step from the value itself finds the exact inverse beyond 12 digits.
            miss = (
                mpmath.erfc(-v / mpmath.sqrt(2)) / 2 - left
                if left < right
                else (right - mpmath.erfc(v / mpmath.sqrt(2)) / 2)
            )
            assert abs(miss / mpmath.npdf(v)) < bound * max(abs(v), 1)


def test_uniform_is_the_top_of_the_word():
    words = np.array([0, 255, 256, 2**32 - 1], np.uint32)
    assert philox.uniform(words).tolist() == [0.0, 0.0, 2.0**-24, 1 - 2.0**-24]


def test_bfloat16_rounds_to_nearest_even():
    torch = pytest.importorskip("torch")
    bits = np.random.default_rng(1).integers(0, 2**32, 100_000, dtype=np.uint32)
    ties = np.arange(0x3F808000, 0x3FFF8000, 0x10000, dtype=np.uint32)
    values = np.concatenate([bits, ties]).view(np.float32)
    values = values[np.isfinite(values)]
    expected = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(philox.bfloat16_bits(values), expected)
