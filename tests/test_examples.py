"""The examples do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1]


def run(*command):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_llama_starts_and_learns_alike_on_one_process_and_on_four():
    example = "examples/llama_fsdp2.py"
    alone = run(sys.executable, example)
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4")
    spread = run(sys.executable, *launch, example)
    prints = [re.findall(r"fingerprint (\w+)", text) for text in (alone, spread)]
    assert prints[0] == prints[1]
    assert len(prints[0]) == 1
    losses = [[float(x) for x in re.findall(r"loss (\S+)", text)] for text in (alone, spread)]
    assert len(losses[0]) == len(losses[1]) == 20
    assert all(abs(a - b) < 1e-3 for a, b in zip(*losses, strict=True))
    assert losses[0][-1] < 0.6 * losses[0][0]
