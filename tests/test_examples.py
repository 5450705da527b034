"""The examples do what they say."""

import contextlib
import io
import math
import os
import re
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from ranks import on_ranks

FOLDER = Path(__file__).parents[1]
EXAMPLE = FOLDER / "examples" / "llama_fsdp2.py"
NUMBER = re.compile(r"(?:loss|fingerprint) (\S+)")


def output(example=EXAMPLE):
    """What an example prints in this process."""
    device, printed = torch.get_default_device(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(str(example), run_name="__main__")
    finally:
        torch.set_default_device(device)
    return printed.getvalue()


def launched(rank, port):
    """The same where a launcher has started four."""
    dist.destroy_process_group()  # the example makes its own
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "4"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return output()


def test_a_new_head_starts_on_trained_features_and_learns():
    printed = output(FOLDER / "examples" / "fine_tune.py")
    before, after = map(float, re.search(r"fine-tuning: loss (\S+) to (\S+)", printed).groups())
    size, expected = map(float, re.search(r"logits: (\S+), expected (\S+)", printed).groups())
    assert size == pytest.approx(expected, rel=0.5)  # of eight logits: one standard error is 0.25
    # Of classes that are alike at first, and normal logits of this size: E[log Σ eˡ] = log n + σ²/2.
    assert before == pytest.approx(math.log(8) + size**2 / 2, rel=0.2)
    assert after < 0.2 * before
    new = re.search(r"initialized: (.*)", printed)[1].split(", ")
    kinds = ("weight", "bias")
    assert new == [f"{at}.{kind}" for at in ("bert.pooler.dense", "classifier") for kind in kinds]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def same(alone, spread):
    """Equal fingerprints, and losses that are equal but for rounding; both as in the docs."""
    page = (FOLDER / "docs" / "distributed.md").read_text(encoding="utf-8")
    shown = NUMBER.findall(re.search(r"```text\n(fingerprint.*?)```", page, re.DOTALL)[1])
    prints, *losses = zip(NUMBER.findall(alone), NUMBER.findall(spread), strict=True)
    assert prints == (shown[0], shown[0])
    assert len(losses) == 10
    for one, four in losses:
        assert abs(float(one) - float(four)) < 1e-3
    for (one, _), told in zip(losses, shown[1:], strict=False):
        assert abs(float(one) - float(told)) < 0.01
    assert float(losses[-1][0]) < 0.6 * float(losses[0][0])


@pytest.mark.skipif(torch.cuda.is_available(), reason="one process alone trains on the GPU")
def test_a_llama_starts_and_learns_alike_on_one_process_and_on_four():
    printed = on_ranks(4, launched, free_port(), together=False)
    assert len(printed) == 4
    same(output(), "".join(printed))


@pytest.mark.slow
def test_the_same_by_torchrun():
    launch = (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "4",
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        (*launch, str(EXAMPLE)), env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    same(output(), done.stdout)
