"""No element tells of another: neighbours, rows, parameters, purposes, seeds, and the bits of words.

The seeds are fixed, so a check always passes or always fails; a correct generator fails a check
under one seed in a million (`ALARM`), whatever the number of pairs that it looks at. A correlation
of 0.001 between neighbours, or in common between many streams, is seen.
"""

import numpy as np
import pytest

from checkers import ALARM, fair, lagged, related
from isoinit._drawing.streams import Stream

WIDTH = 2**15
LAGS = [1, 2, 3, 255, 256, 257, 512, 768, 1000, 1024, 4096]  # a pair's members, lanes, blocks, rows


def normals(start, count):
    out = np.empty(count, np.float32)
    Stream(0, "weight").normal(out, start)
    return out


def correlated(start, count):
    """Each normal takes 0.001 of its left neighbour."""
    z = normals(start, count + 1)
    return z[1:] + np.float32(0.001) * z[:-1]


def test_neighbours():
    """Correlations of z and z² with the element one place on, a lane on, a row on."""
    assert lagged(normals, 2**27, LAGS) > ALARM


def test_related_neighbours_are_noticed():
    assert lagged(correlated, 2**27, LAGS) < ALARM**2


def names():
    """300 parameters of a transformer, most of them a digit apart."""
    parts = ["attn.q.weight", "attn.k.weight", "attn.q.bias", "mlp.up.weight", "mlp.down.weight"]
    return [f"layers.{layer}.{part}" for layer in range(60) for part in parts]


PURPOSES = ["", "mask", "noise", "mask/noise", "places", "0", "1", "a", "b", "signs"]
STREAMS = {
    "rows": None,
    "parameters": [Stream(0, name) for name in names()],
    "seeds": [Stream(seed, "weight") for seed in range(300)],
    "seeds of one bit": [Stream(s * 2**k, "weight") for k in range(100) for s in (1, -1)],
    "purposes": [Stream(0, name, purpose) for name in names()[:20] for purpose in PURPOSES],
}


def rows(kind):
    if STREAMS[kind] is None:
        return normals(0, 512 * WIDTH).reshape(512, WIDTH)
    out = np.empty((len(STREAMS[kind]), WIDTH), np.float32)
    for stream, row in zip(STREAMS[kind], out, strict=True):
        stream.normal(row)
    return out


@pytest.mark.parametrize("kind", STREAMS)
def test_streams(kind):
    """All pairs of some 300: the largest correlation, their sum, the sum of their squares."""
    assert related(rows(kind)) > ALARM


def test_columns():
    """A column of a matrix holds one element of every row, 768 elements apart."""
    matrix = normals(0, 768 * WIDTH).reshape(WIDTH, 768)
    assert related(np.ascontiguousarray(matrix.T)) > ALARM


def common(z):
    """Correlation 0.001 between all."""
    return z + np.float32(0.001**0.5) * normals(2**40, WIDTH)


def twins(z):
    z[7] += np.float32(0.06) * z[207]
    return z


@pytest.mark.parametrize("relate", [common, twins])
def test_related_streams_are_noticed(relate):
    assert related(relate(rows("parameters"))) < ALARM**2


def test_streams_never_meet():
    """No run of two words occurs twice, wherever it stands: streams do not overlap.

    Among 640 thousand 64-bit numbers the chance of one pair is 1e-8.
    """
    pairs = []
    for stream in {s for streams in STREAMS.values() if streams for s in streams}:
        words = stream.words(0, 1024).astype(np.uint64)
        pairs.append((words[:-1] << np.uint64(32)) | words[1:])
    every = np.concatenate(pairs)
    assert np.unique(every).size == every.size


# ---------------------------------------------------------------- words


def bits(words):
    """A row of zeros and ones for each bit of a word, the lowest first."""
    return (words >> np.arange(32, dtype=np.uint32)[:, None]) & np.uint32(1)


def ones(words):
    """How many of the words have each bit, by the counts of their bytes."""
    octets, patterns = words.view(np.uint8).reshape(-1, 4), np.arange(256, dtype=np.uint32)
    return np.concatenate(
        [bits(patterns)[:8] @ np.bincount(octet, minlength=256) for octet in octets.T]
    )


def test_every_bit_is_a_fair_coin():
    """2**24 words: one bit that is off by 0.001 is seen."""
    words = Stream(0, "weight").words(0, 2**24)
    assert fair(ones(words), words.size) > ALARM
    biased = words | np.uint32(np.random.default_rng(0).random(words.size) < 0.002)
    assert fair(ones(biased), words.size) < ALARM**2


def test_the_bits_of_a_word_are_unrelated():
    signs = 1 - 2 * bits(Stream(0, "weight").words(0, 2**20)).astype(np.float32)
    assert related(signs) > ALARM


def flipped(text, place, bit):
    return text[:place] + chr(ord(text[place]) ^ bit) + text[place + 1 :]


AVALANCHE = {
    "seed": [(Stream(s, "w"), Stream(s ^ (1 << k), "w")) for s in (0, 12345) for k in range(64)],
    "name": [
        (Stream(0, name), Stream(0, flipped(name, place, bit)))
        for name in ["layers.0.attention.weight"]
        for place in range(len(name))
        for bit in (1, 2, 4, 8)
    ],
}


@pytest.mark.parametrize("what", AVALANCHE)
def test_one_bit_turns_half_of_all_bits(what):
    """A bit of the seed or of a letter: each of 32 output bits over all, and all bits of each pair."""
    turned = [bits(a.words(0, 1024) ^ b.words(0, 1024)) for a, b in AVALANCHE[what]]
    assert fair(sum(t.sum(1) for t in turned), 1024 * len(turned)) > ALARM
    assert fair([t.sum() for t in turned], 1024 * 32) > ALARM
