"""What TensorBoard reads back."""

import pytest
import torch
from torch import nn

import isoinit
from isoinit.errors import ArgumentError

pytest.importorskip("tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter


def test_curves_through_depth_and_findings(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(32, 32) for _ in range(12)])
    health = isoinit.check(model, torch.randn(64, 32))
    with SummaryWriter(tmp_path) as writer:
        health.log(writer, step=7)
    read = EventAccumulator(str(tmp_path)).Reload()
    curve = read.Scalars("isoinit at step 7/rms")
    assert [event.step for event in curve] == list(range(12))
    assert [event.value for event in curve] == pytest.approx([x.rms for x in health.layers])
    assert "isoinit at step 7/value" not in read.Tags()["scalars"]
    (errors,) = read.Scalars("isoinit/errors")
    assert (errors.step, errors.value) == (7, len(health.failures()))
    (text,) = read.Tensors("isoinit/findings/text_summary")
    assert health.findings[0].sentence in text.tensor_proto.string_val[0].decode()


@pytest.mark.parametrize("writer", [None, print, {"log": 1}])
def test_what_is_no_writer_is_refused(writer):
    health = isoinit.check(nn.Linear(4, 4), torch.randn(8, 4))
    with pytest.raises(ArgumentError, match=r"expected one of: a SummaryWriter, .*mlflow.*wandb"):
        health.log(writer)
