"""The examples of a transfer train alike wherever people train: alone, sharded, under Trainers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import isoinit
from ranks import on_ranks
from test_examples import free_port, output

FOLDER = Path(__file__).parents[1] / "examples" / "transfer"
HOW_TO = Path(__file__).parents[1] / "docs" / "how-to" / "transfer.md"
QUIET = pytest.mark.filterwarnings("ignore")  # of the Trainers, about loggers and workers


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """The folder of a plan, which all of the examples train by."""
    folder = tmp_path_factory.mktemp("plan")
    with imported(folder) as (gpt, tune):
        batch = {"ids": next(tune.batches(1))}
        t = isoinit.transfer(gpt.GPT(32, 2), gpt.GPT(128, 4), batch)
    t.plan.save(folder / "plan.json")
    return folder


class imported:  # noqa: N801
    """Within it, examples import each other, and work in a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        self.before = Path.cwd()
        os.chdir(self.folder)
        sys.path.insert(0, str(FOLDER))
        import gpt
        import tune

        return gpt, tune

    def __exit__(self, *error):
        os.chdir(self.before)
        sys.path.remove(str(FOLDER))
        for name in ("gpt", "tune"):
            sys.modules.pop(name, None)


def launched(rank, ranks, port, folder):
    """What the sharded example prints on one of some ranks."""
    dist.destroy_process_group()  # the example makes its own
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with imported(folder):
        return output(FOLDER / "sharded.py")


def lines(printed):
    """The losses and norms of the steps."""
    return [tuple(map(float, pair)) for pair in re.findall(r"loss (\S+) norm (\S+)", printed)]


def by_hand(plan, steps=10):
    """The same in torch's loop on this process, and the loss of the first batch afterwards."""
    with imported(plan) as (gpt, tune):
        t = isoinit.Transfer(isoinit.Plan.load("plan.json"))
        model = t.plan.apply(gpt.GPT(128, 4), seed=0)
        optimizer = torch.optim.AdamW(t.groups(model, lr=2**-6, weight_decay=0.1))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min(1, (n + 1) / 5))
        found = []
        for ids in tune.batches(steps):
            loss = model(ids, labels=ids)["loss"]
            loss.backward()
            found.append((loss.item(), t.clip_grad_norm_(model, 1.0).item()))
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        ids = next(tune.batches(1))
        return found, model(ids, labels=ids)["loss"].item()


@pytest.fixture(scope="module")
def expected(plan):
    return by_hand(plan)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the ranks of a test talk through gloo")
def test_a_model_of_the_meta_device_trains_alike_when_it_is_sharded(plan, expected):
    printed = on_ranks(2, launched, 2, free_port(), plan, together=False)
    assert lines("".join(printed)) == [pytest.approx(pair, abs=2e-3) for pair in expected[0]]


@pytest.mark.slow
def test_the_same_by_torchrun(plan, expected):
    launch = (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        (*launch, str(FOLDER / "sharded.py")),
        env=environment,
        cwd=plan,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert lines(done.stdout) == [pytest.approx(pair, abs=2e-3) for pair in expected[0]]


@QUIET
@pytest.mark.parametrize(
    ("name", "needs"),
    [("with_lightning.py", "pytorch_lightning"), ("with_trainer.py", "accelerate")],
)
def test_a_trainer_trains_alike(plan, expected, name, needs):
    pytest.importorskip(needs)
    with imported(plan):
        printed = output(FOLDER / name)
    assert float(re.search(r"^loss (\S+)", printed, re.MULTILINE)[1]) == pytest.approx(
        expected[1], abs=2e-3
    )


@pytest.mark.slow
def test_the_learning_rate_of_the_small_model_is_that_of_the_large(plan):
    """Of those tried: one half and twice as much are worse."""
    with imported(plan) as (gpt, tune):
        t = isoinit.Transfer(isoinit.Plan.load("plan.json"))
        best = tune.tuned(range(-7, -4))
        model = gpt.GPT(128, 4)
        losses = {
            lr: tune.train(t.plan.apply(model, seed=0), t, lr) for lr in (best / 2, best, best * 2)
        }
    assert min(losses, key=losses.get) == best


def test_a_checkpoint_carries_the_transfer(plan):
    with imported(plan) as (gpt, _):
        t = isoinit.Transfer(isoinit.Plan.load("plan.json"))
        with isoinit.deferred():
            model = gpt.GPT(128, 4)
        isoinit.write_checkpoint(t.plan, model, "checkpoint", seed=0)
        stored = isoinit.Transfer(isoinit.Plan.load("checkpoint/isoinit_plan.json"))
    model = t.plan.apply(model, seed=0)
    found, own = stored.groups(model, 0.01, 0.1), t.groups(model, 0.01, 0.1)
    assert [{**g, "params": len(g["params"])} for g in found] == [
        {**g, "params": len(g["params"])} for g in own
    ]
    stored.verify(torch.optim.AdamW(own))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_the_how_to_shows_the_examples_as_they_are(path):
    assert f"```python\n{path.read_text(encoding='utf-8')}```" in HOW_TO.read_text(encoding="utf-8")
