"""A file is whole or not there, whoever else writes it; what a killed process left is known."""

import os
import stat
import sys

import pytest
import torch
import torch.distributed as dist
from torch import nn

import isoinit
from isoinit._system.files import remove_partials, whole
from ranks import on_ranks


def save_often(rank, source, target):
    plan = isoinit.Plan.load(source)
    dist.barrier()
    for _ in range(60):
        plan.save(target)
        assert isoinit.Plan.load(target) == plan


def test_processes_that_save_one_plan_do_not_meet(tmp_path):
    plan = isoinit.plan(nn.Sequential(*[nn.Linear(8, 8) for _ in range(9)]), torch.zeros(2, 8))
    source, target = tmp_path / "source.json", tmp_path / "saved" / "plan.json"
    target.parent.mkdir()
    plan.save(source)
    on_ranks(2, save_often, source, target)
    assert [path.name for path in target.parent.iterdir()] == ["plan.json"]


def test_a_write_that_fails_leaves_nothing_and_loses_nothing(tmp_path):
    def stop(path):
        with whole(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    path = tmp_path / "a"
    with pytest.raises(KeyboardInterrupt):
        stop(path)
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        stop(path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"before")]
    with pytest.raises(FileNotFoundError):
        stop(tmp_path / "no" / "a")


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are of another kind")
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o000])
def test_permissions_are_those_of_a_file_that_is_plainly_opened(tmp_path, mask):
    before = os.umask(mask)
    try:
        (tmp_path / "plain").write_bytes(b"")
        with whole(tmp_path / "ours"):
            pass
    finally:
        os.umask(before)
    plain, ours = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours"))
    assert ours == plain == 0o666 & ~mask


def test_what_killed_processes_left_is_removed_by_the_name_of_its_file(tmp_path):
    def started(name):
        writing = whole(tmp_path / name)
        return writing, writing.__enter__()  # as if killed: it never comes to its end

    names = ["model.safetensors", ".metadata", "model.safetensors.index.json", "other"]
    left = {name: [started(name) for _ in range(2)] for name in names}
    others = [tmp_path / ".model.safetensors.backup.partial", tmp_path / "model.safetensors"]
    for path in others:
        path.write_bytes(b"not of a write that was stopped")
    remove_partials(tmp_path, names[:2])
    kept = [file.name for name in names[2:] for _, file in left[name]]
    assert sorted(map(str, tmp_path.iterdir())) == sorted([*map(str, others), *map(str, kept)])
