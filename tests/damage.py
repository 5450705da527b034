"""Damaged safetensors files, the same ones for the same seed."""

import json
import random

import numpy as np
from safetensors.numpy import save

from isoinit._system.headers import BITS

TOKENS = [
    "0", "-1", "-0", "2.0", "1e3", "1e999", "18446744073709551616", "9" * 400, "null", "true", "[]",
    "{}", '""', '"F4"', '"C128"', '"\\ud800"', '"\\ud83d\\ude00"', "NaN", "Infinity", ",", " ", "\n",
    "\x01", "\ufeff", "[" * 130 + "]" * 130, "[" * 2000, '"a":', '"dtype":"F32",', '"shape":[2],',
    '"__metadata__":null,', '"__metadata__":{"a":"b"},', '"more":{"a":[1,"x"]},', "]", "}", "{", "[",
]  # fmt: skip
SHAPES = [
    [], [0], [1], [12], [2, 2], [2**32, 2**32, 0], [0, 2**32, 2**32], [2**62], [-2, -3], [True],
    ["2"], None,
]  # fmt: skip
NOTES = [None, {}, {"a": 1}, {"a": "b"}, [], "x", {"a": None}]
FURTHER = [None, 1, "x", [1, {"a": []}], -0.0]


def originals():
    a, b = np.arange(6, dtype="f4").reshape(2, 3), np.arange(4, dtype="i1")
    empty, scalar = np.zeros((0, 3), "f4"), np.array(2.0)
    return [
        save({"a": a, "b": b, "empty": empty, "scalar": scalar}, {"format": "pt"}),
        save({"x.y": b, "é": a}),
        save({"w": a}),
        save({}),
    ]


def file_of(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def mutated(raw, chance):
    """A file with one thing changed: its bytes, its header's text, or what the header says."""
    length = int.from_bytes(raw[:8], "little")
    head, data = raw[8 : 8 + length], raw[8 + length :]
    if chance.random() < 0.6:
        return _bytes(raw, head, data, chance)
    header = json.loads(head)
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return file_of(header, bytes(chance.randrange(3)))
    return _meaning(header, chance.choice(names), data, chance)


def _bytes(raw, head, data, chance):
    how = chance.randrange(6)
    at = chance.randrange(len(head) + 1)
    if how == 0:
        place = chance.randrange(len(raw))
        return raw[:place] + bytes([chance.randrange(256)]) + raw[place + 1 :]
    if how == 1:
        return raw[: chance.randrange(len(raw) + 1)]
    if how == 2:
        return raw + bytes(chance.randrange(1, 9))
    if how == 3:
        text = head.decode()
        at = chance.randrange(len(text) + 1)
        token = chance.choice(TOKENS)
        return file_of((text[:at] + token + text[at + chance.randrange(2) :]).encode(), data)
    if how == 4:
        return file_of(head[:at] + head[at + chance.randrange(1, 6) :], data)
    size = chance.choice([len(head) + chance.randrange(-8, 9), 0, 1, 2**63, -1, 10**8, 10**8 + 1])
    return (size % 2**64).to_bytes(8, "little") + head + data


def _meaning(header, name, data, chance):
    facts = header[name]
    how = chance.randrange(11)
    if how == 0:
        facts["data_offsets"][chance.randrange(2)] += chance.choice([-4, -1, 1, 4, 8, 2**40, 2**64])
    elif how == 1:
        facts["shape"] = chance.choice([facts["shape"][::-1], [*facts["shape"], 1], *SHAPES])
    elif how == 2:
        facts["dtype"] = chance.choice([*BITS, "F128", "f32", None, 3, ["F32"], {"F32": None}])
    elif how == 3:
        del facts[chance.choice(list(facts))]
    elif how == 4:
        facts["more"] = chance.choice(FURTHER)
    elif how == 5:
        header[name + "2"] = dict(facts)
    elif how == 6:
        header["__metadata__"] = chance.choice(NOTES)
    elif how == 7:
        header[name] = chance.choice([list(facts.values()), None, [], "x", 1])
    elif how == 8:
        header = {key: header[key] for key in chance.sample(list(header), len(header))}
    elif how == 9:
        facts["data_offsets"] = [0, 0]
    else:
        text = json.dumps(header)[:-1] + "," + json.dumps({name: facts})[1:]
        return file_of(text.encode(), data)
    return file_of(header, data)


def damaged(count, seed=0):
    chance = random.Random(seed)
    files = originals()
    for _ in range(count):
        yield mutated(chance.choice(files), chance)
