"""What a run of Weights & Biases holds, offline."""

import json
import math
import struct
import time

import pytest
import torch
from torch import nn

import isoinit

wandb = pytest.importorskip("wandb")
from wandb.proto.wandb_internal_pb2 import Record  # noqa: E402


@pytest.fixture
def run(tmp_path):
    quiet = wandb.Settings(silent=True, console="off")
    run = wandb.init(project="tests", mode="offline", dir=tmp_path, settings=quiet)
    yield run
    run.finish()


def records(data):
    """The records in a run's file, which has the format of LevelDB's log, behind 7 bytes."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:  # no header fits into the block any more
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or its last part
            yield whole
            whole = b""


def finished(file):
    """The records of a run that is finished: wandb's own process writes them, a moment later."""
    for _ in range(200):
        found = [Record.FromString(data) for data in records(file.read_bytes())]
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        time.sleep(0.05)
    raise AssertionError("the run was not written in 10 s")


def rows(folder):
    """The history that the file of a run holds, by step: names and values."""
    (file,) = folder.rglob("*.wandb")
    found = {}
    for record in finished(file):
        if record.WhichOneof("record_type") == "history":
            row = {".".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
            step = record.history.step.num
            found.setdefault(step, {}).update({k: json.loads(v) for k, v in row.items()})
    return found


def checked(depth=12):
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(32, 32) for _ in range(depth)])
    batch = torch.randn(64, 32), torch.arange(64) % 32
    return isoinit.check(model, batch, loss=nn.CrossEntropyLoss())


def test_numbers_table_charts_and_page(run, tmp_path):
    health = checked()
    health.log(run, step=3)
    run.log({"loss": 1.0})  # of the training
    run.finish()
    history = rows(tmp_path)
    assert sorted(history) == [3]  # the training's own steps are not moved
    row = history[3]
    assert row["isoinit/errors"] == len(health.failures())
    assert row["isoinit/loss"] == pytest.approx(health.loss)
    assert row["loss"] == 1.0
    (file,) = tmp_path.rglob("*layers*.table.json")
    table = json.loads(file.read_text())
    assert table["columns"][:2] == ["depth", "layer"]
    at = table["columns"].index("rms")
    assert [line[0] for line in table["data"]] == list(range(12))
    assert [line[1] for line in table["data"]] == [layer.name for layer in health.layers]
    assert [line[at] for line in table["data"]] == pytest.approx([x.rms for x in health.layers])
    (file,) = tmp_path.rglob("*findings*.table.json")
    assert [line[1] for line in json.loads(file.read_text())["data"]] == list(
        map(str, health.findings)
    )
    (page,) = tmp_path.rglob("*.html")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    (file,) = tmp_path.rglob("rms_table*.table.json")
    curve = json.loads(file.read_text())["data"]
    assert [depth for depth, _ in curve] == list(range(12))
    assert [value for _, value in curve] == pytest.approx([x.rms for x in health.layers])
    assert not list(tmp_path.rglob("dead_table*"))  # no activation: not measured


def test_a_healthy_model_and_the_module_itself(run, tmp_path):
    model = nn.Linear(8, 8)
    batch = torch.randn(64, 8)
    plan = isoinit.init(model, batch, seed=0)
    health = isoinit.check(model, batch, plan=plan)
    health.log(wandb)
    run.finish()
    row = rows(tmp_path)[0]
    assert (row["isoinit/errors"], row["isoinit/warnings"]) == (0, 0)
    assert "isoinit/loss" not in row
    (file,) = tmp_path.rglob("*layers*.table.json")
    table = json.loads(file.read_text())
    assert table["data"][0][table["columns"].index("expected")] == pytest.approx(
        health.layers[0].expected
    )
    assert math.isfinite(health.layers[0].expected)
