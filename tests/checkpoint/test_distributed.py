"""Several processes write one checkpoint, or none of them does."""

import os
import signal

import pytest
import torch
from torch import nn

import isoinit
from isoinit.checkpoint import write
from isoinit.checkpoint import writer as pieces
from isoinit.errors import CheckpointError, IsoinitError, RankError
from ranks import on_ranks

SIZES = {"max_shard_size": 5000, "seed": 0}


def build():
    with isoinit.deferred():
        return nn.Sequential(*[nn.Linear(30, 30) for _ in range(5)])


def planned(model):
    return isoinit.plan(model, torch.zeros(2, 30))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _all_ways(rank, folder):
    model = build()
    plan = planned(model)
    mine = []

    def count(done, _total):
        mine.append(done)

    for kind in ("safetensors", "dcp"):
        written = isoinit.write_checkpoint(
            plan,
            model,
            folder / kind,
            format=kind,
            **SIZES,
            progress=count,
        )
        assert len(written.new) == len(written.files)
    assert mine  # every rank had something to write
    again = isoinit.write_checkpoint(plan, model, folder / "dcp", format="dcp", **SIZES)
    assert again.new == ()
    _differ(rank, folder / "c", model, plan)
    _fail(rank, folder / "c", model, plan)


def _differ(rank, folder, model, plan):
    with pytest.raises(RankError, match=r"rank 1 with seed '1' instead of '0'"):
        isoinit.write_checkpoint(plan, model, folder, seed=int(rank == 1))
    with pytest.raises(RankError, match=r"rank 1 with seed 'None' instead of '0'"):
        isoinit.write_checkpoint(plan, model, folder, seed=None if rank == 1 else 0)
    other = planned(model)
    if rank == 1:
        other["2.weight"] = isoinit.Orthogonal(gain=0.7)
    with pytest.raises(
        RankError, match=r"on rank 1: the plan has different values for '2\.weight'"
    ):
        isoinit.write_checkpoint(other, model, folder, seed=0)
    double = nn.Sequential(nn.Linear(30, 30, dtype=torch.float64 if rank == 1 else torch.float32))
    example = torch.zeros(2, 30, dtype=double[0].weight.dtype)
    with pytest.raises(RankError, match=r"on rank 1: '0\.weight' has dtype float64, not float32"):
        isoinit.write_checkpoint(isoinit.plan(double, example), double, folder, seed=0)
    assert not folder.exists()


def _own_seeds(rank, folder):
    """Ranks whose generators differ write one checkpoint, under the first one's draw."""
    torch.manual_seed(rank)
    model = build()
    seed = isoinit.write_checkpoint(planned(model), model, folder).seed
    return seed, int(torch.randint(2**31, ()))


def test_without_a_seed_the_first_rank_draws_it(tmp_path):
    (seed, first), (other, second) = on_ranks(2, _own_seeds, tmp_path / "c")
    expected = []
    for rank in range(2):
        torch.manual_seed(rank)
        own = isoinit.write_checkpoint(planned(build()), build(), tmp_path / f"{rank}").seed
        expected.append((own, int(torch.randint(2**31, ()))))  # one draw has gone
    assert seed == other == expected[0][0] != expected[1][0]
    assert [first, second] == [after for _, after in expected]
    assert contents(tmp_path / "c") == contents(tmp_path / "0")
    assert isoinit.Plan.load(tmp_path / "c" / "isoinit_plan.json").seed == seed
    assert isoinit.verify_checkpoint(tmp_path / "c").ok


def _fail(rank, folder, model, plan):
    wrong = nn.Linear(3, 3) if rank == 1 else model
    words = "" if rank == 1 else "planning the checkpoint failed on rank 1: PlanError: "
    with pytest.raises(IsoinitError, match=words + "nothing was changed: the plan has no entry"):
        isoinit.write_checkpoint(plan, wrong, folder, seed=0)
    assert not folder.exists()
    write_piece = pieces._write
    if rank == 1:
        pieces._write = _refuse
    words = (
        "writing .* failed: No space" if rank == 1 else "writing failed on rank 1: CheckpointError"
    )
    with pytest.raises(CheckpointError if rank == 1 else IsoinitError, match=words):
        isoinit.write_checkpoint(plan, model, folder, **SIZES)
    pieces._write = write_piece
    assert not (folder / "model.safetensors.index.json").exists()
    isoinit.write_checkpoint(plan, model, folder, **SIZES)


def _refuse(_out, _views):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("ranks", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_ranks_share_the_work_and_fail_as_one(tmp_path, ranks):
    on_ranks(ranks, _all_ways, tmp_path)
    model = build()
    for kind in ("safetensors", "dcp"):
        isoinit.write_checkpoint(planned(model), model, tmp_path / "alone", format=kind, **SIZES)
        assert contents(tmp_path / "alone") == contents(tmp_path / kind)
        (tmp_path / "alone").rename(tmp_path / f"alone {kind}")
    assert contents(tmp_path / "c") == contents(tmp_path / "safetensors")


def _lose_a_rank(rank, folder):
    model = build()
    if rank == 1:
        write.write_file = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(IsoinitError, match="a rank has stopped"):
        isoinit.write_checkpoint(planned(model), model, folder / "c", **SIZES)
    return "told"


def test_a_rank_that_is_killed_in_the_middle(tmp_path):
    assert on_ranks(2, _lose_a_rank, tmp_path, together=False) == ["told"]
    assert not (tmp_path / "c" / "model.safetensors.index.json").exists()
    model = build()
    isoinit.write_checkpoint(planned(model), model, tmp_path / "c", **SIZES)
    assert isoinit.verify_checkpoint(tmp_path / "c").ok
