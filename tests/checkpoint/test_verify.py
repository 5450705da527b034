"""What a verification finds in checkpoints, isoinit's own and others'."""

import json
import random

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file, save_model
from torch import nn

import isoinit
from isoinit.checkpoint import verify
from isoinit.errors import ArgumentError

FORMATS = ("safetensors", "dcp")
LOADING = "ignore:torch.distributed is disabled"


def build(dtype=torch.float32):
    options = {"dtype": dtype}
    with isoinit.deferred():
        return nn.Sequential(
            nn.Linear(8, 16, **options), nn.BatchNorm1d(16, **options), nn.Linear(16, 4, **options)
        )


def planned(model):
    return isoinit.plan(model, torch.zeros(3, 8, dtype=model[0].weight.dtype))


@pytest.fixture(params=FORMATS)
def folder(request, tmp_path):
    model = build()
    options = {"format": request.param, "max_shard_size": 300}
    isoinit.write_checkpoint(planned(model), model, tmp_path / "c", seed=5, **options)
    return tmp_path / "c"


def data_files(folder):
    return sorted([*folder.glob("*.safetensors"), *folder.glob("*.distcp")])


def found(folder, *arguments, **options):
    """The names of the findings and what they are about."""
    verified = isoinit.verify_checkpoint(folder, *arguments, **options)
    assert verified.ok is not any(f.severity == "error" for f in verified.findings)
    return {(finding.name, finding.where[0]) for finding in verified.findings}


def test_a_good_one(folder):
    verified = isoinit.verify_checkpoint(folder)
    assert verified.ok
    assert (verified.compared, verified.seed, verified.findings) == (9, 5, [])
    assert "9 tensors are the same bit for bit" in str(verified)
    assert json.loads(verified.to_json())["compared"] == 9


def test_another_seed_or_plan(folder):
    assert ("wrong tensor", "0.weight") in found(folder, seed=6)
    plan = isoinit.Plan.load(folder / "isoinit_plan.json")
    plan["0.bias"] = isoinit.Constant(0.5)
    (finding,) = isoinit.verify_checkpoint(folder, plan).findings
    assert finding.sentence == "'0.bias' at [0] is 0.0, expected 0.5"


def test_pieces_are_compared(folder, monkeypatch):
    monkeypatch.setattr(verify, "_PIECE", 7)
    assert isoinit.verify_checkpoint(folder).ok


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", FORMATS)
def test_one_changed_bit_is_found(tmp_path, kind, dtype):
    model = build(dtype)
    plan = planned(model)
    isoinit.write_checkpoint(plan, model, tmp_path, format=kind, seed=0)
    (path,) = data_files(tmp_path)
    values = plan.apply(model, 0)[2].weight.detach().contiguous().reshape(-1).view(torch.uint8)
    data = path.read_bytes()
    place = data.index(bytes(values.numpy()))
    at = place + 21 * dtype.itemsize
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    (finding,) = isoinit.verify_checkpoint(tmp_path).findings
    assert (finding.name, finding.where) == ("wrong tensor", ("2.weight",))
    assert finding.sentence.startswith("'2.weight' at [1, 5] is ")
    assert finding.threshold == model[2].weight[1, 5].item()


def test_a_buffer_that_was_changed(tmp_path):
    model = build()
    isoinit.write_checkpoint(planned(model), model, tmp_path, seed=0)
    path = tmp_path / "model.safetensors"
    ones = bytes(torch.ones(16).numpy())
    data = bytearray(path.read_bytes())
    place = data.rindex(ones)  # running_var is behind the weights of the norm
    data[place + 3] ^= 1
    path.write_bytes(bytes(data))
    assert found(tmp_path) == {("wrong tensor", "1.running_var")}


def test_files_cut_off_or_gone(folder):
    first, second = data_files(folder)[:2]
    data = first.read_bytes()
    for size in (0, 7, 40, len(data) - 1):
        first.write_bytes(data[:size])
        assert ("broken file", first.name) in found(folder)
    first.unlink()
    assert ("broken file", first.name) in found(folder)
    first.write_bytes(data)
    partial = folder / f".{second.name}.0123456789abcdef.partial"
    partial.write_bytes(b"")
    assert found(folder) == {("unfinished write", partial.name)}
    partial.unlink()
    (folder / "isoinit_plan.json").rename(folder / "moved.json")
    plan = isoinit.Plan.load(folder / "moved.json")
    assert found(folder, plan) == set()  # it can be passed


def test_an_index_that_is_gone_or_wrong(tmp_path):
    model = build()
    isoinit.write_checkpoint(planned(model), model, tmp_path, max_shard_size=300, seed=0)
    index = tmp_path / "model.safetensors.index.json"
    text = index.read_text()
    index.write_text(text[:30])
    assert ("broken file", index.name) in found(tmp_path)
    index.unlink()
    assert ("broken file", index.name) in found(tmp_path)
    data = json.loads(text)
    data["weight_map"]["more"] = data_files(tmp_path)[0].name
    index.write_text(json.dumps(data))
    assert ("broken file", data_files(tmp_path)[0].name) in found(tmp_path)


def test_damage_anywhere_is_found_and_never_raises(folder):
    """Every file cut and scribbled over at many places."""
    record = json.loads((folder / "isoinit.json").read_text())
    chance = random.Random(0)
    for path in [folder / name for name in record["files"]]:
        data = path.read_bytes()
        for _ in range(40):
            at = chance.randrange(len(data))
            path.write_bytes(data[:at])
            assert not isoinit.verify_checkpoint(folder).ok
            if path.name != ".metadata":  # a pickle that is scribbled over may do anything
                noise = bytes(chance.randrange(256) for _ in range(8))
                path.write_bytes((data[:at] + noise + data[at + 8 :])[: len(data)])
                isoinit.verify_checkpoint(folder)
        path.write_bytes(data)
    assert isoinit.verify_checkpoint(folder).ok


@pytest.mark.filterwarnings(LOADING)
@pytest.mark.parametrize("kind", FORMATS)
def test_what_others_wrote(tmp_path, kind):
    plan = planned(build())
    model = plan.apply(build(), 5)
    if kind == "dcp":
        dcp.save(model.state_dict(), checkpoint_id=tmp_path)
    else:
        save_model(model, str(tmp_path / "model.safetensors"))
    verified = isoinit.verify_checkpoint(tmp_path, plan, seed=5)
    assert verified.ok
    assert verified.compared == 6
    assert {f.name for f in verified.findings} == {"unexpected tensor"}
    assert all("running" in f.where[0] or "batches" in f.where[0] for f in verified.findings)
    assert ("wrong tensor", "0.weight") in found(tmp_path, plan, seed=6)


def test_names_shapes_and_types(tmp_path):
    plan = planned(build())
    state = dict(plan.apply(build(), 5).state_dict())
    del state["0.bias"]
    state["0.weight"] = state["0.weight"].T.contiguous()
    state["2.weight"] = state["2.weight"].double()
    state["more"] = torch.zeros(1)
    save_file(state, tmp_path / "weights.safetensors")
    errors = {
        ("missing tensor", "0.bias"),
        ("wrong tensor", "0.weight"),
        ("wrong tensor", "2.weight"),
    }
    assert errors < found(tmp_path, plan, seed=5)
    assert ("unexpected tensor", "more") in found(tmp_path, plan, seed=5)


def test_tied_parameters_under_any_of_their_names(tmp_path):
    model = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8, bias=False))
    model[1].weight = model[0].weight
    plan = isoinit.plan(model, torch.zeros(3, dtype=torch.long))
    weight = plan.apply(model, 0)[0].weight.detach()
    for state in ({"0.weight": weight}, {"1.weight": weight}):
        save_file(state, tmp_path / "model.safetensors")
        assert found(tmp_path, plan, seed=0) == set()
    save_file({"0.weight": weight, "1.weight": weight + 1}, tmp_path / "model.safetensors")
    assert found(tmp_path, plan, seed=0) == {("wrong tensor", "1.weight")}


def test_wrong_use(tmp_path, folder):
    plan = planned(build())
    with pytest.raises(ArgumentError, match="is not a folder"):
        isoinit.verify_checkpoint(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArgumentError, match=r"holds no isoinit_plan\.json\. Pass the plan"):
        isoinit.verify_checkpoint(tmp_path / "empty", seed=0)
    with pytest.raises(ArgumentError, match=r"holds no isoinit\.json\. Pass the seed"):
        isoinit.verify_checkpoint(tmp_path / "empty", plan)
    with pytest.raises(ArgumentError, match="holds no complete checkpoint"):
        isoinit.verify_checkpoint(tmp_path / "empty", plan, 0)
    (folder / "isoinit_plan.json").unlink()
    with pytest.raises(ArgumentError, match="Pass the plan, or write the checkpoint again"):
        isoinit.verify_checkpoint(folder)


@pytest.mark.parametrize("form", ["safetensors", "dcp"])
def test_the_fingerprint_is_that_of_the_model(tmp_path, form):
    model = build()
    plan = planned(model)
    isoinit.write_checkpoint(plan, model, tmp_path / "c", 3, format=form, max_shard_size=2000)
    found = isoinit.verify_checkpoint(tmp_path / "c")
    assert found.fingerprint == str(isoinit.fingerprint(plan.apply(model, 3)))
    assert f"fingerprint {found.fingerprint}" in str(found)
    assert isoinit.verify_checkpoint(tmp_path / "c", seed=4).fingerprint is None
