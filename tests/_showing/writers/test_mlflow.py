"""What a run of MLflow holds, in a local store."""

import csv

import pytest
import torch
from torch import nn

import isoinit
from isoinit.errors import ArgumentError

mlflow = pytest.importorskip("mlflow")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of files, which needs no database: mlflow-skinny has none."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    yield tmp_path
    if mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(before)


@pytest.fixture
def health():
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(32, 32) for _ in range(70)])
    batch = torch.randn(64, 32), torch.arange(64) % 32
    return isoinit.check(model, batch, loss=nn.CrossEntropyLoss())


def holds(client, run_id, health, step):
    """Whether a run holds a check."""
    history = client.get_metric_history(run_id, f"isoinit at step {step}/rms")
    found = sorted((metric.step, metric.value) for metric in history)
    assert [depth for depth, _ in found] == list(range(len(health.layers)))
    assert [value for _, value in found] == pytest.approx([x.rms for x in health.layers])
    (errors,) = client.get_metric_history(run_id, "isoinit/errors")
    assert (errors.step, errors.value) == (step, len(health.failures()))
    (loss,) = client.get_metric_history(run_id, "isoinit/loss")
    assert loss.value == pytest.approx(health.loss)

    def artifact(name):
        path = client.download_artifacts(run_id, f"isoinit/step-{step}/{name}")
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()

    table = list(csv.DictReader(artifact("layers.csv").splitlines()))
    assert [row["layer"] for row in table] == [layer.name for layer in health.layers]
    assert [float(row["rms"]) for row in table] == pytest.approx([x.rms for x in health.layers])
    assert artifact("findings.txt").splitlines() == list(map(str, health.findings))
    assert artifact("check.html").startswith("<!doctype html>")


def test_the_module_writes_to_the_active_run(store, health):
    with mlflow.start_run() as run:
        health.log(mlflow, step=5)
        assert mlflow.active_run().info.run_id == run.info.run_id
    holds(mlflow.MlflowClient(), run.info.run_id, health, 5)


def test_the_module_starts_a_run_as_its_own_functions_do(store, health):
    health.log(mlflow)
    holds(mlflow.MlflowClient(), mlflow.active_run().info.run_id, health, 0)


def test_a_client_is_told_the_run(store, health):
    client = mlflow.MlflowClient()
    run_id = client.create_run("0").info.run_id
    with pytest.raises(ArgumentError, match=r"run_id=run\.info\.run_id"):
        health.log(client)
    health.log(client, run_id=run_id)
    holds(client, run_id, health, 0)
    assert mlflow.active_run() is None
