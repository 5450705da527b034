"""Folders that somebody else prepared: `verify` gives findings, and a write nothing outside of them.

Every case runs in this process, so that one that blocks is seen as a test that does not end.
"""

import copy
import json
import os
import pickle
import random
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import isoinit
from isoinit.checkpoint.record import digest_of
from isoinit.errors import ArgumentError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no pipes with names")

FORMATS = ("safetensors", "dcp")
VALUES = [
    None, True, 0, -1, 2**70, 1.5, float("nan"), "", "x", "../x", "/etc/passwd", "a\0b", "\ud800",
    [], [1], [[1]], {}, {"a": 1}, ["x"],
]  # fmt: skip


def build():
    with isoinit.deferred():
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def write(folder, kind="safetensors"):
    model = build()
    plan = isoinit.plan(model, torch.zeros(3, 6))
    options = {"max_shard_size": 200, "format": kind}
    return isoinit.write_checkpoint(plan, model, folder, 5, **options)


@pytest.fixture(params=FORMATS)
def folder(request, tmp_path):
    write(tmp_path / "c", request.param)
    return tmp_path / "c"


def found(folder, *arguments):
    verified = isoinit.verify_checkpoint(folder, *arguments)
    for text in (str(verified), verified.to_json(), verified.annotations()):
        text.encode()  # as printing does
    return {(f.name, f.where[0]) for f in verified.findings if f.severity == "error"}


def places(data, at=()):
    """The way to every value in JSON data."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in pairs:
        yield (*at, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*at, key))


def changed(data, chance):
    data = copy.deepcopy(data)
    *way, last = chance.choice(list(places(data)))
    inner = data
    for key in way:
        inner = inner[key]
    how = chance.randrange(4)
    if how == 0:
        del inner[last]
    elif how == 1 and isinstance(inner, dict):
        inner[chance.choice(["more", "../x", "a/b", "\ud800", ""])] = inner.pop(last)
    elif how == 2 and type(inner[last]) in (int, float):
        inner[last] *= chance.choice([-1, 2, 2**40, 0])
    else:
        inner[last] = chance.choice(VALUES)
    return data


@pytest.mark.parametrize(
    "name", ["isoinit.json", "isoinit_plan.json", "model.safetensors.index.json"]
)
def test_changed_records_plans_and_indexes_are_findings(tmp_path, name):
    write(tmp_path)
    path, chance = tmp_path / name, random.Random(0)
    text = path.read_text()
    for _ in range(40):
        data = changed(json.loads(text), chance)
        if name == "isoinit.json" and "digest" in data:
            data["digest"] = digest_of(data)  # as whoever changes it on purpose would
        path.write_text(json.dumps(data))
        found(tmp_path)
    for damaged in ("", "[]", "{", text[:99], "[" * 100_000, '{"a":1,"a":1}', '"\\ud800"'):
        path.write_text(damaged)
        assert ("broken file", name) in found(tmp_path)
    path.write_bytes(b"\xff" + text.encode())
    assert ("broken file", name) in found(tmp_path)


def test_a_record_and_a_plan_that_do_not_go_together(folder):
    plan, record = folder / "isoinit_plan.json", folder / "isoinit.json"
    data, told = json.loads(plan.read_text()), json.loads(record.read_text())
    other = copy.deepcopy(data)
    other["parameters"]["3.bias"]["initializer"] = {"initializer": "Constant", "val": 0.0}
    plan.write_text(json.dumps(other))  # the same bits, but not what was recorded
    assert found(folder) == {("wrong plan", "3.bias")}
    del other["parameters"]["3.bias"]
    plan.write_text(json.dumps(other))
    assert found(folder) == {("wrong plan", "3.bias")}
    plan.write_text(json.dumps({**data, "seed": 6}))
    assert found(folder) == {("wrong plan", "isoinit_plan.json")}
    plan.write_text(json.dumps(data))
    for name in ("3.bias", "1.running_var"):
        less = copy.deepcopy(told)
        del less["tensors"][name]
        record.write_text(json.dumps({**less, "digest": digest_of(less)}))
        assert ("unexpected tensor", name) in found(folder)
    record.write_text("")
    assert found(folder) == {("broken file", "isoinit.json")}  # the plan tells the seed, too
    plan.write_text("")
    assert isoinit.verify_checkpoint(folder).seed is None


def test_nothing_but_files_is_read(folder, tmp_path):
    secret = tmp_path / "outside"
    for path in sorted(folder.iterdir()):
        secret.write_bytes(data := path.read_bytes())
        for make, kind in (
            (lambda path: path.symlink_to(secret), "a symbolic link"),
            (lambda path: path.symlink_to("nowhere"), "a symbolic link"),
            (os.mkfifo, "a named pipe"),
            (lambda path: path.mkdir(), "a folder"),
        ):
            path.unlink()
            make(path)
            verified = isoinit.verify_checkpoint(folder)
            assert any(kind in f.sentence for f in verified.findings), (path, kind)
            assert ("broken file", path.name) in found(folder)
            path.rmdir() if kind == "a folder" else path.unlink()
            path.write_bytes(data)
    assert found(folder) == set()


def test_files_that_lead_out_of_the_folder(tmp_path):
    write(tmp_path / "c")
    index = tmp_path / "c" / "model.safetensors.index.json"
    data = json.loads(index.read_text())
    for name in ("../x.safetensors", str(tmp_path / "x.safetensors"), "a/b", ".."):
        save_file({"0.weight": torch.zeros(2)}, tmp_path / "x.safetensors")
        data["weight_map"]["0.weight"] = name
        index.write_text(json.dumps(data))
        (said,) = [
            f.sentence
            for f in isoinit.verify_checkpoint(tmp_path / "c").findings
            if f.where == (index.name,) and "cannot be read" in f.sentence
        ]
        assert "expected the name of a file in the same folder" in said


def test_two_files_that_hold_one_tensor_and_files_nobody_wrote(tmp_path):
    write(tmp_path)
    shards = sorted(tmp_path.glob("*.safetensors"))
    index = tmp_path / "model.safetensors.index.json"
    text = index.read_text()
    data = json.loads(text)
    tensor = next(name for name, file in data["weight_map"].items() if file == shards[-1].name)
    del data["weight_map"][tensor]
    index.write_text(json.dumps(data))
    assert ("broken file", shards[-1].name) in found(tmp_path)
    index.write_text(text)
    save_file({"0.weight": torch.zeros(8, 6)}, tmp_path / "more.safetensors")
    assert found(tmp_path) == set()  # a warning: no reader takes it
    names = {f.where[0] for f in isoinit.verify_checkpoint(tmp_path).findings}
    assert names == {"more.safetensors"}
    for name in ("model.safetensors", ".metadata"):  # which readers take before the index
        save_file({"0.weight": torch.zeros(8, 6)}, tmp_path / name)
        assert ("unexpected file", name) in found(tmp_path)
        (tmp_path / name).unlink()


class Evil:
    def __reduce__(self):
        return print, ("it runs",)


def test_a_pickle_runs_nothing(tmp_path, capsys):
    write(tmp_path, "dcp")
    path, chance = tmp_path / ".metadata", random.Random(0)
    data = path.read_bytes()
    path.write_bytes(pickle.dumps(Evil()))
    said = [f.sentence for f in isoinit.verify_checkpoint(tmp_path).findings]
    assert any("refers to builtins.print, which is not allowed" in s for s in said)
    assert capsys.readouterr().out == ""
    for _ in range(60):
        noise = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            noise[chance.randrange(len(noise))] = chance.randrange(256)
        path.write_bytes(bytes(noise))
        found(tmp_path)
    path.write_bytes(data.replace(b"__0_1.distcp", b"../_1.distcp"))
    assert ("broken file", ".metadata") in found(tmp_path)


def test_parts_that_do_not_make_up_a_tensor(tmp_path):
    write(tmp_path, "dcp")
    path = tmp_path / ".metadata"
    good = path.read_bytes()
    for change in (
        lambda facts: facts.chunks.clear(),
        lambda facts: facts.chunks.append(facts.chunks[0]),
        lambda facts: setattr(facts, "size", torch.Size((9, 6))),
        lambda facts: setattr(facts.chunks[0], "sizes", torch.Size((48,))),
    ):
        metadata = pickle.loads(good)
        change(metadata.state_dict_metadata["0.weight"])
        path.write_bytes(pickle.dumps(metadata))
        assert ("broken file", ".metadata") in found(tmp_path)


def state(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_plan_that_is_gone_empty_or_changed_is_made_again(folder):
    whole, plan = state(folder), folder / "isoinit_plan.json"
    kind = json.loads(whole["isoinit.json"])["format"]
    other = json.loads(whole[plan.name])
    other["parameters"]["3.bias"]["initializer"] = {"initializer": "Constant", "val": 1.0}
    plan.unlink()
    assert write(folder, kind).new == (plan.name,)
    for text in (b"", whole[plan.name][:200], b"[" * 100_000, json.dumps(other).encode()):
        plan.write_bytes(text)
        assert write(folder, kind).new == (plan.name,)
        assert state(folder) == whole


def test_what_is_kept_is_compared_and_said(folder):
    whole = state(folder)
    kind = json.loads(whole["isoinit.json"])["format"]
    assert "only sizes were compared; verify also compares the drawn values" in str(
        write(folder, kind)
    )
    data = [name for name in whole if name.endswith((".safetensors", ".distcp"))]
    last = ".metadata" if kind == "dcp" else "model.safetensors.index.json"
    ones = bytes(torch.ones(8).numpy())  # a buffer, whose values are known
    held = [name for name in sorted(data) if ones in whole[name]][-1]
    for name, at in ((data[0], 9), (last, 40), (held, whole[held].rindex(ones))):
        damaged = bytearray(whole[name])
        damaged[at] ^= 1
        (folder / name).write_bytes(bytes(damaged))
        with pytest.raises(ArgumentError, match=f"{name}.* was changed after it was written"):
            write(folder, kind)
        (folder / name).write_bytes(whole[name])
    assert write(folder, kind).new == ()


def test_nothing_outside_is_written(folder, tmp_path):
    whole = state(folder)
    kind = json.loads(whole["isoinit.json"])["format"]
    outside = tmp_path / "outside"
    for name in [*whole, ".isoinit.lock"]:
        for make in (lambda path: path.symlink_to(outside), os.mkfifo, lambda path: path.mkdir()):
            path = folder / name
            path.unlink(missing_ok=True)
            make(path)
            with pytest.raises(ArgumentError, match=f"{name}.* is a (symbolic|named|folder)"):
                write(folder, kind)
            assert not outside.exists()
            path.rmdir() if path.is_dir() else path.unlink()
            if name in whole:
                path.write_bytes(whole[name])
    assert state(folder) == whole
    other = tmp_path / "other"
    other.mkdir()
    (other / "model-00001-of-00003.safetensors").symlink_to(outside)
    with pytest.raises(ArgumentError, match="not written by isoinit"):
        write(other)
    assert not outside.exists()


def test_complex_numbers_that_differ(tmp_path):
    for dtype, kind in ((torch.complex64, "safetensors"), (torch.complex128, "dcp")):
        model = nn.Linear(4, 4, dtype=dtype)
        plan = isoinit.plan(model, torch.zeros(1, 4, dtype=dtype))
        isoinit.write_checkpoint(plan, model, tmp_path / kind, 0, format=kind)
        assert isoinit.verify_checkpoint(tmp_path / kind).ok
        verified = isoinit.verify_checkpoint(tmp_path / kind, seed=1)
        assert verified.findings[0].sentence.startswith("'weight' at [0, 0] is (")
