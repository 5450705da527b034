"""A checkpoint holds what `apply` would have made of the model, bit for bit."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

import isoinit
from isoinit.checkpoint import writer as pieces
from isoinit.errors import ArgumentError, CheckpointError, PlanError

METHODS = ("zero", "random", "xavier", "he", "lecun", "orthogonal", "sparse", "variational")
TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
BATCH = torch.zeros(4, dtype=torch.long)


class Model(nn.Module):
    """Tied weights, a padded table, buffers saved and not, a scalar, a convolution, nothing at all."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(40, 12, padding_idx=3)
        self.first = nn.Linear(12, 24)
        self.norm = nn.BatchNorm1d(24)
        self.second = nn.Linear(24, 12)
        self.out = nn.Linear(12, 40, bias=False)
        self.out.weight = self.table.weight
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.unused = nn.Parameter(torch.zeros(0, 5))
        self.noise = nn.Parameter(torch.empty(6).normal_())
        self.register_buffer("flags", torch.tensor([True, False, True]))
        self.register_buffer("hidden", torch.ones(3), persistent=False)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(self.table(x))))
        return self.out(self.second(x)) * self.scale


def build(dtype=torch.float32):
    torch.manual_seed(0)
    with isoinit.deferred():
        return Model() if dtype is torch.float32 else _of_type(dtype)


def _of_type(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return Model()
    finally:
        torch.set_default_dtype(before)


def planned(model, method="auto"):
    return isoinit.plan(model, BATCH, method=method)


def loaded(folder):
    tensors = {}
    for path in folder.glob("*.safetensors"):
        tensors |= load_file(path)
    return tensors


def expected(plan, seed, dtype=torch.float32):
    """What `apply` leaves of a new model, tied parameters once."""
    state = plan.apply(build(dtype), seed).state_dict()
    return {name: tensor for name, tensor in state.items() if name != "out.weight"}


def same(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        twin = other[name]
        assert (tensor.dtype, tensor.shape) == (twin.dtype, twin.shape), name
        words = tensor.contiguous().reshape(-1).view(torch.uint8)
        assert torch.equal(words, twin.contiguous().reshape(-1).view(torch.uint8)), name


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 8192)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_the_bits_are_those_of_apply(tmp_path, method, dtype):
    model = build(dtype)
    plan = planned(model, method)
    isoinit.write_checkpoint(plan, model, tmp_path / "c", seed=7, max_shard_size=3000)
    same(loaded(tmp_path / "c"), expected(plan, 7, dtype))
    assert isoinit.verify_checkpoint(tmp_path / "c").ok


@pytest.mark.parametrize("initializer", [isoinit.Orthogonal(), isoinit.HeNormal()], ids=str)
def test_pieces_make_the_whole(tmp_path, small_pieces, initializer):
    model = nn.Sequential(nn.Linear(100, 130), nn.Embedding(70, 90, padding_idx=69))
    with isoinit.deferred():
        model = nn.Sequential(nn.Embedding(70, 100, padding_idx=68), nn.Linear(100, 130))
    plan = isoinit.plan(model, BATCH)
    plan["1.weight"] = initializer
    isoinit.write_checkpoint(plan, model, tmp_path / "c", seed=1)
    found = loaded(tmp_path / "c")
    same(found, dict(plan.apply(model, 1).state_dict()))
    assert not found["0.weight"][68].any()


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(most=st.integers(1, 12_000))
def test_any_size_of_shards(tmp_path, most):
    model = build()
    plan = planned(model)
    folder = tmp_path / "c"
    shutil.rmtree(folder, ignore_errors=True)
    isoinit.write_checkpoint(plan, model, folder, seed=7, max_shard_size=most)
    found = {path.name: load_file(path) for path in folder.glob("*.safetensors")}
    for tensors in found.values():
        assert len(tensors) == 1 or sum(t.nbytes for t in tensors.values()) <= most
    same({k: v for tensors in found.values() for k, v in tensors.items()}, expected(plan, 7))
    if len(found) == 1:
        assert set(found) == {"model.safetensors"}
    else:
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        assert index["weight_map"] == {k: file for file, ts in found.items() for k in ts}
        total = sum(t.nbytes for tensors in found.values() for t in tensors.values())
        assert index["metadata"]["total_size"] == total


def test_the_model_stays_as_it_was_and_the_rest_is_there(tmp_path):
    model = build()
    plan = planned(model)
    before = {name: p._version for name, p in model.named_parameters()}
    written = isoinit.write_checkpoint(plan, model, tmp_path / "c", seed=7)
    assert {name: p._version for name, p in model.named_parameters()} == before
    left = plan.apply(model, 7).state_dict()
    same(expected(plan, 7), {name: left[name] for name in left if name != "out.weight"})
    assert written.files == ("isoinit.json", "isoinit_plan.json", "model.safetensors")
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == sorted(written.files)
    assert not isoinit.Plan.load(tmp_path / "c" / "isoinit_plan.json").diff(plan)
    from safetensors import safe_open

    with safe_open(tmp_path / "c" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "out.weight": "table.weight"}


def test_a_model_on_the_meta_device(tmp_path):
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    plan = isoinit.plan(model, torch.zeros(2, 8))
    isoinit.write_checkpoint(plan, model, tmp_path / "c", seed=2)
    same(loaded(tmp_path / "c"), dict(plan.apply(model.to_empty(device="cpu"), 2).state_dict()))


def test_a_whole_checkpoint_is_left_alone_and_a_part_is_gone_on_with(tmp_path):
    model = build()
    plan = planned(model)
    folder = tmp_path / "c"
    first = isoinit.write_checkpoint(plan, model, folder, max_shard_size=3000, seed=0)
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = isoinit.write_checkpoint(plan, model, folder, max_shard_size=3000, seed=0)
    assert (again.new, again.files) == ((), first.files)
    assert "so nothing was written" in str(again)
    name = next(name for name in first.files if name.startswith("model-00001"))
    gone = {name, "model.safetensors.index.json"}
    for each in gone:
        (folder / each).unlink()
    (folder / f".{name}.0123456789abcdef.partial").write_bytes(b"half")
    third = isoinit.write_checkpoint(plan, model, folder, max_shard_size=3000, seed=0)
    assert set(third.new) == gone
    kept = {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name not in gone}
    assert kept == {name: time for name, time in times.items() if name not in gone}
    assert "files existed already" in str(third)


def _refused(words, error, plan, model, folder, **options):
    with pytest.raises(error, match=words):
        isoinit.write_checkpoint(plan, model, folder, **{"seed": 0, **options})


def test_another_checkpoint_is_not_written_over(tmp_path):
    model = build()
    plan = planned(model)
    folder = tmp_path / "c"
    isoinit.write_checkpoint(plan, model, folder, seed=1)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    _refused("seed is 1, not 2", ArgumentError, plan, model, folder, seed=2)
    _refused(
        "format is 'safetensors', not 'dcp'",
        ArgumentError,
        plan,
        model,
        folder,
        seed=1,
        format="dcp",
    )
    _refused("max_shard_size is", ArgumentError, plan, model, folder, seed=1, max_shard_size=99)
    plan["first.weight"] = isoinit.Orthogonal()
    _refused(
        "the plan has different values for 'first.weight'",
        ArgumentError,
        plan,
        model,
        folder,
        seed=1,
    )
    model.flags[0] = False
    plan = isoinit.Plan.load(folder / "isoinit_plan.json")
    _refused(r"'flags' \(not drawn by the plan\)", ArgumentError, plan, model, folder, seed=1)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "name", ["model.safetensors", "x.safetensors", ".metadata", "__0_0.distcp"]
)
def test_foreign_files_are_not_written_over(tmp_path, name):
    model = build()
    (tmp_path / name).write_bytes(b"precious")
    _refused("not written by isoinit", ArgumentError, planned(model), model, tmp_path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [(name, b"precious")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not valid JSON"),
        ("[]", "expected a JSON object"),
        ('{"kind": "isoinit checkpoint"}', "version None"),
    ],
)
def test_a_record_that_is_none(tmp_path, text, words):
    (tmp_path / "isoinit.json").write_text(text)
    model = build()
    _refused(words, ArgumentError, planned(model), model, tmp_path)


def test_files_that_were_changed(tmp_path):
    model = build()
    plan = planned(model)
    isoinit.write_checkpoint(plan, model, tmp_path, seed=0)
    record = tmp_path / "isoinit.json"
    text = record.read_text()
    record.write_text(text.replace('"seed": 0', '"seed": 1'))
    _refused("was changed after it was written", ArgumentError, plan, model, tmp_path)
    record.write_text(text)
    with (tmp_path / "model.safetensors").open("ab") as file:
        file.write(b"x")
    _refused(
        "The file was changed after it was written: remove it", ArgumentError, plan, model, tmp_path
    )


def test_places_that_cannot_be(tmp_path):
    model = build()
    plan = planned(model)
    (tmp_path / "file").write_text("")
    _refused("is a file; expected a folder", ArgumentError, plan, model, tmp_path / "file")
    _refused(
        "name of a file; expected a folder", ArgumentError, plan, model, tmp_path / "m.safetensors"
    )
    _refused("does not exist. Create it first", ArgumentError, plan, model, tmp_path / "no" / "c")
    _refused(
        "format='gguf': expected one of", ArgumentError, plan, model, tmp_path / "c", format="gguf"
    )
    _refused(
        "max_shard_size='many'", ArgumentError, plan, model, tmp_path / "c", max_shard_size="many"
    )
    _refused("seed='x'", ArgumentError, plan, model, tmp_path / "c", seed="x")
    assert not (tmp_path / "c").exists()


def test_buffers_on_meta_get_what_the_model_gives_them(tmp_path):
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    plan = isoinit.plan(model, torch.zeros(2, 4))
    isoinit.write_checkpoint(plan, model, tmp_path / "c", seed=0)
    found = load_file(tmp_path / "c" / "model.safetensors")
    assert torch.equal(found["1.running_var"], torch.ones(4))
    assert torch.equal(found["1.running_mean"], torch.zeros(4))
    assert model[1].running_var.is_meta


def test_what_has_no_values_is_refused_by_name(tmp_path):
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4))
        model.register_buffer("rates", torch.ones(3))
    plan = isoinit.plan(model, torch.zeros(2, 4))
    words = "buffer 'rates' came from the meta device without values"
    _refused(words, PlanError, plan, model, tmp_path / "c")
    with torch.device("meta"):
        meta = Model()
    plan = planned(build())
    kept = [entry.name for entry in plan if entry.initializer is None]
    assert kept
    _refused(f"'{kept[-1]}' are on the meta device", PlanError, plan, meta, tmp_path / "c")
    alone = nn.Linear(4, 4)
    alone.signs = nn.Parameter(torch.tensor([1.0, -1.0, 1.0]))
    plan = isoinit.plan(alone, torch.zeros(2, 4))
    with torch.device("meta"):
        alone = nn.Linear(4, 4)
        alone.signs = nn.Parameter(torch.empty(3))
    _refused("'signs' is on the meta device", PlanError, plan, alone, tmp_path / "c")
    _refused("has no entry for|has no parameter", PlanError, plan, nn.Linear(3, 3), tmp_path / "c")
    strange = nn.Linear(4, 4)
    strange.register_buffer("odd", torch.zeros(2, dtype=torch.complex128))
    plan = isoinit.plan(strange, torch.zeros(2, 4))
    _refused("'odd' is torch.complex128", PlanError, plan, strange, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_folder_that_another_process_writes_to(tmp_path):
    from isoinit._system.locks import locked

    model = build()
    with locked(tmp_path) as held:
        assert held
        _refused("another process is writing", ArgumentError, planned(model), model, tmp_path)


def test_a_disk_without_room(tmp_path, monkeypatch):
    model = build()
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    _refused(
        "nothing was written: .* the disk has only 100 B free",
        CheckpointError,
        planned(model),
        model,
        tmp_path,
    )
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up(tmp_path, small_pieces):
    """The system refuses files above a size, as it refuses writes on a full disk."""
    model = build()
    plan = planned(model)
    folder = tmp_path / "c"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, limits[1]))
    try:
        plan_of_little = isoinit.plan(nn.Linear(2, 2), torch.zeros(1, 2))
        isoinit.write_checkpoint(plan_of_little, nn.Linear(2, 2), tmp_path / "fits", seed=0)
        with pytest.raises(CheckpointError, match="free some disk space and repeat the call"):
            isoinit.write_checkpoint(plan, model, folder, seed=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [path for path in folder.iterdir() if path.suffix in (".partial", ".safetensors")]
    isoinit.write_checkpoint(plan, model, folder, seed=0)
    same(loaded(folder), expected(plan, 0))


def test_a_write_that_fails_in_the_middle(tmp_path, monkeypatch):
    model = build()
    plan = planned(model)
    write, calls = pieces._write, []

    def full(out, views):
        calls.append(1)
        if len(calls) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(out, views)

    monkeypatch.setattr(pieces, "_write", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        isoinit.write_checkpoint(plan, model, tmp_path / "c", max_shard_size=3000, seed=0)
    again = isoinit.write_checkpoint(plan, model, tmp_path / "c", max_shard_size=3000, seed=0)
    assert 0 < len(again.new) < len(again.files)
    same(loaded(tmp_path / "c"), expected(plan, 0))


def test_progress_counts_every_byte(tmp_path):
    model = build()
    seen = []
    written = isoinit.write_checkpoint(
        planned(model),
        model,
        tmp_path / "c",
        max_shard_size=3000,
        progress=lambda *x: seen.append(x),
        seed=0,
    )
    assert seen[-1] == (written.size, written.size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


MEMORY = """
import resource, sys, torch, isoinit
with isoinit.deferred():
    model = torch.nn.Sequential(*[torch.nn.Linear(4096, 4096, bias=False) for _ in range(6)])
plan = isoinit.Plan.load(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
isoinit.write_checkpoint(plan, model, sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_large_model_takes_little_memory(tmp_path):
    """400 MB of parameters; beyond what is loaded, two pieces and the compiled kernels."""
    with torch.device("meta"):
        model = nn.Sequential(*[nn.Linear(4096, 4096, bias=False) for _ in range(6)])
    plan = isoinit.plan(model, torch.zeros(1, 4096, device="meta"), method="xavier")
    plan.save(tmp_path / "plan.json")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "c"), str(tmp_path / "plan.json")],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert sum(path.stat().st_size for path in (tmp_path / "c").iterdir()) > 400e6
    assert int(done.stdout) < 200_000  # KiB


def computed():
    parts = nn.utils.parametrizations
    return nn.Sequential(
        parts.weight_norm(nn.Linear(8, 8)),
        nn.ReLU(),
        parts.spectral_norm(nn.Linear(8, 8)),
        parts.orthogonal(nn.Linear(8, 4)),
    )


@pytest.mark.parametrize("layout", ["safetensors", "dcp"])
def test_weights_that_modules_compute(tmp_path, layout):
    with isoinit.deferred():
        model = computed()
    plan = isoinit.plan(model, torch.zeros(1, 8))
    isoinit.write_checkpoint(plan, model, tmp_path / "folder", seed=3, format=layout)
    verified = isoinit.verify_checkpoint(tmp_path / "folder")
    assert verified.ok, verified
    plan.apply(model, seed=3)
    assert verified.fingerprint == str(isoinit.fingerprint(model))
    if layout == "safetensors":
        found = load_file(tmp_path / "folder" / "model.safetensors")
        expected = model.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
