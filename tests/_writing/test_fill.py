"""Filling: the same bits on any device default, number of threads and order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import isoinit
from isoinit._drawing.streams import Stream
from isoinit._writing.fill import fill_tensor
from isoinit._writing.seeds import resolve_seed
from isoinit.initializers.scale import fans

FINGERPRINT = """
import hashlib, sys, isoinit
from torch import nn
model = nn.Sequential(nn.Linear(300, 700), nn.ReLU(), nn.LSTM(700, 128, batch_first=True))
plan = isoinit.Plan.load(sys.argv[1])
for initializer in ("HeNormal", "HeUniform", "TruncatedNormal", "Orthogonal", "Sparse"):
    plan["0.weight"] = getattr(isoinit, initializer)()
    plan.apply(model, seed=11)
    digest = hashlib.sha256()
    for p in model.parameters():
        digest.update(p.detach().numpy().tobytes())
    print(initializer, digest.hexdigest())
"""


def test_the_number_of_threads_changes_no_bit(tmp_path):
    """A process of its own for each: thread pools are sized when they start."""
    model = nn.Sequential(nn.Linear(300, 700), nn.ReLU(), nn.LSTM(700, 128, batch_first=True))
    isoinit.plan(model).save(tmp_path / "plan.json")
    found = []
    for threads, cores in (("1", "{0}"), ("2", "{0, 1}")):
        limits = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        code = f"import os; os.sched_setaffinity(0, {cores})\n" + FINGERPRINT
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "plan.json")],
            env={**os.environ, **limits},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(run.stdout.split())
    assert found[0] == found[1]
    assert len(set(found[0])) == 10  # five initializers, five digests


def test_a_model_on_another_default_device_is_filled_as_on_this_one():
    plain, other = nn.Linear(4, 3), nn.Linear(4, 3)
    plan = isoinit.plan(plain)
    plan.apply(plain, seed=0)
    with torch.device("meta"):
        plan.apply(other, seed=0)
        assert isinstance(resolve_seed(None), int)
    assert torch.equal(plain.weight, other.weight)


def test_empty_parameters_are_left_empty():
    model = nn.Sequential(nn.Linear(0, 3), nn.Linear(3, 0))
    isoinit.init(model, seed=0)
    assert model[0].weight.numel() == model[1].weight.numel() == 0


def test_scalars_are_filled():
    tensor = torch.empty(())
    fill_tensor(tensor, isoinit.Constant(2.5), fans.vector(()), Stream(0, "x"))
    assert tensor.item() == 2.5


def test_the_padding_row_of_a_table_stays_zero():
    tensor = torch.full((5, 3), 7.0)
    fill_tensor(tensor, isoinit.Normal(), fans.embedding((5, 3), padding=-2), Stream(0, "x"))
    assert not tensor[3].any()
    assert tensor[[0, 1, 2, 4]].abs().max() < 7


def test_frozen_parameters_are_filled_where_nothing_is_kept():
    model = nn.Linear(4, 3)
    model.weight.requires_grad_(requires_grad=False)
    before = model.weight.clone()
    isoinit.init(model, seed=0, keep="nothing")
    assert not torch.equal(before, model.weight)
    assert not model.weight.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_plan_fills_small_parameters_together(dtype):
    """The same bits as one by one, whatever lies between; and autograd hears of every write."""
    model = nn.Sequential(*[nn.Linear(7 + i, 8 + i) for i in range(30)]).to(dtype)
    plan = isoinit.plan(model, torch.zeros(1, 7, dtype=dtype))
    plan["3.weight"] = isoinit.Orthogonal()
    plan["4.bias"] = isoinit.Normal(std=0.1)
    versions = {name: p._version for name, p in model.named_parameters()}
    plan.apply(model, seed=5)
    for name, parameter in model.named_parameters():
        expected, entry = torch.empty_like(parameter), plan[name]
        fill_tensor(expected, entry.initializer, entry.layout, Stream(5, name))
        assert torch.equal(parameter, expected)
        assert parameter._version > versions[name]


def test_large_fresh_memory_comes_in_huge_pages():
    modes = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not modes.is_file() or "[never]" in modes.read_text():
        pytest.skip("this system has no huge pages to ask for")
    tensor = torch.empty(16 * 2**20)  # 64 MiB, a mapping of its own
    fill_tensor(tensor, isoinit.Normal(), fans.vector(tensor.shape), Stream(0, "x"))
    middle, found = tensor.data_ptr() + 32 * 2**20, None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(match[1], 16) <= middle < int(match[2], 16)
        elif inside and line.startswith("VmFlags:"):
            found = line.split()
    assert "hg" in found  # the system was asked
