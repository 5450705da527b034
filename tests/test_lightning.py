"""The callback in a real Trainer."""

import os
import warnings

import pytest
import torch
from torch import nn

import isoinit
from isoinit.errors import ArgumentError, IsoinitWarning, UnhealthyError
from ranks import on_ranks

lightning = pytest.importorskip("pytorch_lightning")
from lightning_fabric.plugins.environments import LightningEnvironment  # noqa: E402

from isoinit.lightning import HealthCheck  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*(workers|log|tensorboard|GPU|isinstance)")


class Model(lightning.LightningModule):
    """Twenty layers with dropout, a running statistic and logging."""

    def __init__(self, gives=lambda loss: loss):
        super().__init__()
        layers = [x for _ in range(20) for x in (nn.Linear(32, 32), nn.ReLU())]
        self.body = nn.Sequential(*layers, nn.Dropout(0.1))
        self.norm, self.head = nn.BatchNorm1d(32), nn.Linear(32, 4)
        self.gives, self.seen = gives, []

    def forward(self, x):
        return self.head(self.norm(self.body(x)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.seen.append(y.tolist())
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("train_loss", loss, on_epoch=True)
        self.log_dict({"steps": float(self.trainer.global_step)})
        return self.gives(loss)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


DATA = torch.utils.data.TensorDataset(
    torch.randn(96, 32, generator=torch.Generator().manual_seed(0)), torch.arange(96) % 4
)


def fit(model, *callbacks, folder=None, **options):
    logger = lightning.loggers.TensorBoardLogger(folder) if folder else False
    settings = {"max_epochs": 2, "accelerator": "cpu", "logger": logger} | options
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(
        **settings, **quiet, enable_checkpointing=False, callbacks=list(callbacks)
    )
    trainer.fit(model, torch.utils.data.DataLoader(DATA, batch_size=32, shuffle=True))
    return trainer


def planned(*args):
    model = Model(*args)
    isoinit.init(model, torch.randn(32, 32), seed=0)
    return model


def test_a_healthy_model_trains_as_without_the_callback():
    runs = []
    for callbacks in ([], [HealthCheck()]):
        model = planned()
        torch.manual_seed(3)
        trainer = fit(model, *callbacks)
        runs.append((model.state_dict(), model.seen, trainer.callback_metrics, torch.rand(3)))
        assert not {"forward", "log"} & set(vars(model))
    (one, seen, metrics, next_), (other, seen_too, metrics_too, next_too) = runs
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert seen == seen_too
    assert metrics == metrics_too
    assert torch.equal(next_, next_too)


def test_an_unhealthy_model_stops_before_it_learns():
    torch.manual_seed(0)
    model, callback = Model(), HealthCheck()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UnhealthyError, match=r"vanishing|shrink"):
        fit(model, callback)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [layer.name for layer in callback.health.layers][:2] == ["body.0", "body.2"]
    assert all(layer.gradient > 0 for layer in callback.health.layers)
    assert not model.seen


def test_findings_as_warnings():
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = fit(Model(), HealthCheck(fail=False), fast_dev_run=True)
    said = [str(w.message) for w in caught if issubclass(w.category, IsoinitWarning)]
    assert any("shrink" in text for text in said)
    assert trainer.global_step == 1


class OneArgument(Model):
    def training_step(self, batch):
        return super().training_step(batch, 0)


@pytest.mark.parametrize("model", [OneArgument, lambda: Model(lambda loss: {"loss": loss})])
def test_what_a_training_step_may_take_and_give(model):
    torch.manual_seed(0)
    callback = HealthCheck(fail=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(model(), callback, fast_dev_run=True)
    assert len(callback.health.layers) == 21
    assert callback.health.loss == pytest.approx(1.4, abs=0.3)


def test_under_the_precision_of_the_trainer():
    kinds = []

    class Cast(Model):
        def forward(self, x):
            kinds.append(self.body[0](x).dtype)
            return super().forward(x)

    model, callback = Cast(), HealthCheck()
    isoinit.init(model, torch.randn(32, 32), seed=0)
    kinds.clear()
    fit(model, callback, fast_dev_run=True, precision="bf16-mixed")
    assert set(kinds) == {torch.bfloat16}
    assert callback.health.ok


def test_a_fit_that_goes_on_is_not_checked(tmp_path):
    torch.manual_seed(0)
    path = str(tmp_path / "last.ckpt")
    trainer = fit(Model())
    trainer.save_checkpoint(path)
    callback = HealthCheck()
    more = lightning.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, callbacks=[callback],
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    more.fit(Model(), torch.utils.data.DataLoader(DATA, batch_size=32), ckpt_path=path)
    assert callback.health is None


def test_manual_optimization_is_refused():
    class ByHand(Model):
        automatic_optimization = False

    with pytest.raises(ArgumentError, match=r"ByHand uses manual optimization.*isoinit\.check"):
        fit(ByHand(), HealthCheck())


def test_the_check_is_logged(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fit(planned(), HealthCheck(), folder=tmp_path)
    (file,) = tmp_path.rglob("events*")
    read = accumulators.EventAccumulator(str(file)).Reload()
    assert len(read.Scalars("isoinit at step 0/rms")) == 21
    steps = (
        [event.step for event in read.Scalars("steps")] if "steps" in read.Tags()["scalars"] else []
    )
    assert len(steps) == len(set(steps))  # the check's own run logged nothing


def fit_on(rank, how):
    variables = {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    os.environ.update(variables)
    torch.manual_seed(0)
    model = planned() if how in ("healthy", "nan") else Model()
    if how == "broken" and rank == 1:
        model.on_before_batch_transfer = lambda batch, _: (batch[0][:, :3], batch[1])
    if how == "nan" and rank == 1:
        model.on_before_batch_transfer = lambda batch, _: (batch[0] * torch.nan, batch[1])
    callback = HealthCheck()
    environment = LightningEnvironment()
    strategy = lightning.strategies.DDPStrategy(process_group_backend="gloo")
    try:
        options = {"devices": 2, "strategy": strategy, "plugins": [environment], "max_steps": 2}
        trainer = fit(model, callback, **options)
    except isoinit.IsoinitError as error:
        return type(error).__name__, str(error), model.trainer.global_step
    finally:
        for name in variables:
            os.environ.pop(name, None)
    found = callback.health
    return found.ok, [str(f) for f in found.findings], trainer.global_step, found.loss


def test_two_ranks_check_each_their_batch_and_stop_together():
    one, other = on_ranks(2, fit_on, "healthy")
    assert one[:3] == other[:3]
    assert (one[0], one[2]) == (True, 2)
    assert one[3] != other[3]  # another batch
    one, other = on_ranks(2, fit_on, "sick")
    assert one == other
    assert (one[0], one[2]) == ("UnhealthyError", 0)
    one, other = on_ranks(2, fit_on, "broken")
    assert (one[0], other[0]) == ("RankError", "TraceError")
    assert "rank 1" in one[1]
    one, other = on_ranks(2, fit_on, "nan")
    assert one == other
    assert one[0] == "UnhealthyError"
    assert "NaN" in one[1]


def test_the_check_is_logged_to_wandb(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = lightning.loggers.WandbLogger(project="tests", save_dir=tmp_path, mode="offline")
    fit(planned(), HealthCheck(), logger=logger)
    assert logger.experiment.summary["isoinit/errors"] == 0
    wandb.finish()
    (file,) = tmp_path.rglob("*layers*.table.json")
    assert '"body.0"' in file.read_text()


def test_the_check_is_logged_to_mlflow(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    logger = lightning.loggers.MLFlowLogger(tracking_uri=(tmp_path / "runs").as_uri())
    fit(planned(), HealthCheck(), logger=logger)
    found = logger.experiment.get_metric_history(logger.run_id, "isoinit at step 0/rms")
    assert len(found) == 21
