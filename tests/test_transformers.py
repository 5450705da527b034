"""The callback in a real Trainer of Transformers."""

import copy
import math
import os
import warnings
from contextlib import contextmanager

import pytest
import torch
from torch import nn

import isoinit
from isoinit.errors import ArgumentError, IsoinitWarning, RankError, UnhealthyError
from ranks import on_ranks

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments  # noqa: E402

from isoinit.transformers import HealthCheck  # noqa: E402

WORDS = 64
SIZES = {"n_layer": 2, "n_head": 2, "n_embd": 32, "vocab_size": WORDS, "n_positions": 16}
CONFIG = GPT2Config(**SIZES, bos_token_id=0, eos_token_id=0)
IDS = torch.randint(WORDS, (48, 16), generator=torch.Generator().manual_seed(0))
DATA = [{"input_ids": ids, "labels": ids} for ids in IDS]


class Counting(Trainer):
    """A Trainer that counts, collects and logs in its loss, as many do."""

    losses: list
    seen = 0

    def compute_loss(self, model, inputs, *rest, **options):
        self.seen += inputs["labels"].numel()
        self.batches.append(inputs["labels"].tolist())
        self.kinds["train"].append(inputs.pop("kind", None))
        self.log({"seen": float(self.seen)})
        return super().compute_loss(model, inputs, *rest, **options)


def trainer_of(model, folder, cls=Trainer, data=DATA, loss=None, other=None, **options):
    settings = {"max_steps": 3, "per_device_train_batch_size": 8, "logging_steps": 1} | options
    arguments = TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to="none", disable_tqdm=True, seed=3,
        **{"save_strategy": "no"} | settings,
    )  # fmt: skip
    sets = {"train_dataset": data, "eval_dataset": other}
    trainer = cls(model, arguments, **sets, compute_loss_func=loss)
    trainer.batches, trainer.kinds = [], {"train": []}
    return trainer


def checked(trainer, **options):
    callback = HealthCheck(trainer, **options)
    trainer.add_callback(callback)
    return callback


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(copy.deepcopy(CONFIG))


class Plain(nn.Module):
    """Twenty layers with dropout and running statistics, which no plan has initialized."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layers = [layer for _ in range(20) for layer in (nn.Linear(16, 16), nn.ReLU())]
        self.body, self.norm = nn.Sequential(*layers, nn.Dropout(0.1)), nn.BatchNorm1d(16)
        self.head = nn.Linear(16, WORDS)

    def forward(self, input_ids, labels=None):
        logits = self.head(self.norm(self.body(input_ids.float() / WORDS)))
        return {"loss": nn.functional.cross_entropy(logits, labels[:, 0]), "logits": logits}


def planned():
    model = Plain()
    batch = {"input_ids": IDS[:32], "labels": IDS[:32]}
    isoinit.init(model, batch, seed=0)
    return model


def summed(outputs, labels, num_items_in_batch):
    """A loss function of a user that needs the count."""
    logits, targets = outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return nn.functional.cross_entropy(logits, targets, reduction="sum") / num_items_in_batch


def everything(trainer):
    """What a training leaves, as one comparable value."""
    logs = [{k: v for k, v in e.items() if "runtime" not in k and "per_second" not in k}
            for e in trainer.state.log_history]  # fmt: skip
    optimizer = trainer.optimizer.state_dict()["state"]
    tensors = {**trainer.model.state_dict(), "rng": torch.get_rng_state(), "next": torch.rand(3)}
    tensors |= {f"{i}.{k}": torch.as_tensor(v) for i, s in optimizer.items() for k, v in s.items()}
    return tensors, [logs, trainer.batches, trainer.kinds, getattr(trainer, "seen", 0)]


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (gpt2, {}),
        (gpt2, {"bf16": True, "gradient_accumulation_steps": 2, "label_smoothing_factor": 0.1}),
        (
            gpt2,
            {"loss": summed, "gradient_accumulation_steps": 2, "activation_checkpointing": True},
        ),
        (planned, {"eval_strategy": "no", "max_grad_norm": 0.5}),
    ],
)
def test_a_healthy_model_trains_to_the_same_bits_as_without_the_callback(build, options, tmp_path):
    runs = []
    for has_callback in (False, True):
        trainer = trainer_of(build(), tmp_path, Counting, **options)
        callback = checked(trainer, build=gpt2) if has_callback else None
        trainer.train()
        assert "compute_loss" not in vars(trainer)
        runs.append(everything(trainer))
    assert callback.health.ok
    assert callback.audit.ok
    (tensors, rest), (tensors_too, rest_too) = runs
    assert tensors.keys() == tensors_too.keys()
    assert [n for n in tensors if not torch.equal(tensors[n], tensors_too[n])] == []
    assert rest == rest_too


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("loss", [None, summed])
def test_the_loss_is_that_of_the_first_batch(tmp_path, loss, accumulated):
    options = {"gradient_accumulation_steps": accumulated, "train_sampling_strategy": "sequential"}
    still = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    model = GPT2LMHeadModel(GPT2Config(**CONFIG.to_dict() | still))
    logits = model(IDS[:8]).logits[:, :-1].flatten(0, 1)
    expected = nn.functional.cross_entropy(logits, IDS[:8, 1:].flatten()).item()
    trainer = trainer_of(model, tmp_path, loss=loss, max_steps=1, **options)
    callback = checked(trainer)
    trainer.train()
    if loss is None:
        assert callback.health.chance == pytest.approx(math.log(WORDS))
        assert callback.health.loss == pytest.approx(expected, rel=1e-5)
    else:  # the Trainer counts labels in its own way, see `_get_num_items_in_batch`
        assert callback.health.loss == pytest.approx(expected, rel=0.07)


def test_an_unhealthy_model_stops_before_it_learns(tmp_path):
    model = Plain()
    before = copy.deepcopy(model.state_dict())
    trainer = trainer_of(model, tmp_path, per_device_train_batch_size=32)
    callback = checked(trainer)
    with pytest.raises(UnhealthyError, match="shrink"):
        trainer.train()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [layer.name for layer in callback.health.layers][:2] == ["body.0", "body.2"]
    assert trainer.state.global_step == 0


def test_findings_as_warnings(tmp_path):
    trainer = trainer_of(Plain(), tmp_path, per_device_train_batch_size=32)
    checked(trainer, fail=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train()
    said = [str(w.message) for w in caught if issubclass(w.category, IsoinitWarning)]
    assert any("shrink" in text for text in said)
    assert trainer.state.global_step == 3


def test_under_the_precision_of_the_trainer(tmp_path):
    kinds = set()

    class Cast(Plain):
        def forward(self, input_ids, labels=None):
            kinds.add(self.head(torch.ones(1, 16)).dtype)
            return super().forward(input_ids, labels)

    model = Cast()
    trainer = trainer_of(model, tmp_path, bf16=True, max_steps=1)
    checked(trainer, fail=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    assert kinds == {torch.bfloat16}


def test_a_training_that_is_resumed_is_not_checked(tmp_path):
    first = trainer_of(Plain(), tmp_path, save_strategy="steps", save_steps=2)
    first.train()
    trainer = trainer_of(Plain(), tmp_path, max_steps=4)
    callback = checked(trainer, build=Plain)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert trainer.state.global_step == 4
    assert callback.health is callback.audit is None


def test_an_evaluation_before_the_training_is_not_the_first_batch(tmp_path):
    options = {"other": DATA[:4], "eval_on_start": True, "eval_strategy": "steps"}
    trainer = trainer_of(planned(), tmp_path, max_steps=1, **options)
    callback = checked(trainer)
    trainer.train()
    assert callback.health.ok
    assert not any(finding.name == "evaluation mode" for finding in callback.health.findings)


class Forgetful(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
        self.scale = nn.Parameter(torch.full((4,), 1e-5))


def test_the_audit_stops_a_training(tmp_path):
    trainer = trainer_of(planned(), tmp_path)
    callback = checked(trainer, build=Forgetful)
    with pytest.raises(UnhealthyError, match="scale"):
        trainer.train()
    assert callback.health is None


@pytest.mark.parametrize("flag", ["is_fsdp_enabled", "is_deepspeed_enabled"])
def test_a_sharded_training_is_refused(flag, tmp_path):
    """The Trainer shards on accelerators alone: here its flag is set, and the event is its own."""
    trainer = trainer_of(gpt2(), tmp_path)
    checked(trainer)
    setattr(trainer, flag, True)
    with pytest.raises(ArgumentError, match=r"before Trainer\.train instead"):
        trainer.callback_handler.on_train_begin(trainer.args, trainer.state, trainer.control)


def test_without_a_trainer_it_says_how_to_pass_it():
    with pytest.raises(ArgumentError, match=r"trainer\.add_callback\(HealthCheck\(trainer\)\)"):
        HealthCheck(None)


@contextmanager
def launched(rank):
    """The variables that a launcher sets; accelerate keeps what it read of them."""
    from accelerate.state import AcceleratorState, PartialState

    values = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2,
              "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29500}  # fmt: skip
    os.environ.update({name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
        AcceleratorState._reset_state(reset_partial_state=True)
        assert not PartialState._shared_state


def fit_on(rank, folder, how):
    with launched(rank):
        model = planned() if how == "healthy" else Plain() if how == "sick" else gpt2()
        data = DATA
        if how == "broken" and rank == 1:
            data = [{"input_ids": d["input_ids"] + 1000, "labels": d["labels"]} for d in DATA]
        trainer = trainer_of(model, folder, data=data, ddp_backend="gloo", max_steps=2)
        callback = checked(trainer)
        try:
            trainer.train()
        except (UnhealthyError, RankError, isoinit.IsoinitError) as error:
            return type(error).__name__, str(error), trainer.state.global_step
        found = callback.health
        return found.ok, [str(f) for f in found.findings], trainer.state.global_step, found.loss


def test_two_ranks_check_each_their_batch_and_stop_together(tmp_path):
    one, other = on_ranks(2, fit_on, str(tmp_path), "healthy")
    assert one[:3] == other[:3]
    assert one[0] is True
    assert one[2] == 2
    assert one[3] != other[3]  # another batch
    one, other = on_ranks(2, fit_on, str(tmp_path), "sick")
    assert one == other
    assert (one[0], one[2]) == ("UnhealthyError", 0)
    one, other = on_ranks(2, fit_on, str(tmp_path), "broken")
    assert (one[0], other[0]) == ("RankError", "TraceError")
    assert "rank 1" in one[1]
