"""Runs topics, prints their tables, keeps what they gave in `runs.jsonl` and writes `results.md` anew.

Each topic runs in processes of its own, in which it and its peers get the same processors. With
`--quick` a cheap part of them is printed, and no more: it fails where a row fell below half of its
floor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import runs
from benchmarks.floors import fallen
from benchmarks.report import cells, page
from benchmarks.timing import Row

FOLDER = Path(__file__).parent
# Topic, what it measures, and the numbers of threads; None leaves them as they are.
TOPICS: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "normal": ("Normal", (2,)),
    "uniform": ("Uniform", (2,)),
    "truncated_normal": ("TruncatedNormal", (2,)),
    "orthogonal": ("Orthogonal", (2,)),
    "sparse": ("Sparse", (2,)),
    "small_parameters": ("Small parameters", (2,)),
    "threads": ("Two threads and one", (2,)),
    "fresh_memory": ("Fresh memory", (2,)),
    "gpt2": ("GPT-2 medium from its config", (2,)),
    "blt": ("BltModel from its config", (2,)),
    "whole_model": ("Planning and filling a whole model", (None,)),
    "trace": ("Planning models of transformers", (1,)),
    "reading_depth": ("Planning a Llama on the meta device, by depth", (1,)),
    "transfer": ("A transfer, and what it costs a step", (1,)),
    "growth": ("How the cost grows", (1,)),
    "checking": ("Checking a model, beside one training step", (1,)),
    "variational": ("Weights as distributions", (2,)),
    "sparse_training": ("A sparse layer beside a dense one", (1, 2)),
    "checkpoint": ("Writing a checkpoint", (2,)),
    "spread": ("A model under fully_shard", (None,)),
    "jax": ("Arrays of JAX", (2,)),
    "jax_plans": ("Planning a Llama of 6.7 G parameters in JAX", (1,)),
    "jax_streams": ("Numbers made inside jax.jit", (2,)),
    "page": ("The page of a large model", (None,)),
    "import_time": ("Importing", (None,)),
    "fresh_process": ("At the beginning of a process", (2,)),
    "gpu": ("Filling one tensor on a GPU", (None,)),
}
# What `make bench-quick` runs: the rows that a user waits for, in under two minutes.
QUICK = (
    "normal uniform truncated_normal orthogonal small_parameters whole_model reading_depth".split()
)


def main(words: list[str]) -> None:
    quick = "--quick" in words
    wanted = [word for word in words if word != "--quick"] or (QUICK if quick else [*TOPICS])
    if unknown := set(wanted) - set(TOPICS):
        sys.exit(f"no topic {', '.join(sorted(unknown))}; expected some of {', '.join(TOPICS)}")
    low = []
    for topic in wanted:
        title, counts = TOPICS[topic]
        for threads in counts:
            before = runs.load()
            rows = run(topic, threads, quick=quick)
            show(titled(title, threads), topic, rows)
            low += fallen(topic, rows)
            if not quick:
                runs.record([runs.now(label(topic, threads), rows, before)])
    if quick:
        sys.exit("\n".join(["Below half of their floors:", *low]) if low else 0)
    (FOLDER / "results.md").write_text(page(titles(), runs.recorded()), encoding="utf-8")


def titles() -> dict[str, str]:
    """The title of each topic on the page, by what its runs are recorded under."""
    return {
        label(topic, threads): titled(title, threads)
        for topic, (title, counts) in TOPICS.items()
        for threads in counts
    }


def label(topic: str, threads: int | None) -> str:
    return topic if threads is None else f"{topic}, {threads}"


def titled(title: str, threads: int | None) -> str:
    return title if threads is None else f"{title}, threads: {threads}"


def run(topic: str, threads: int | None, *, quick: bool) -> list[Row]:
    """A topic's rows, measured in a fresh process on `threads` processors."""
    environment = dict(os.environ)
    command = [sys.executable, "-m", f"benchmarks.{topic}", *(["quick"] if quick else [])]
    if threads is not None:
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment |= dict.fromkeys(names, str(threads))

    def pin() -> None:
        if threads is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])

    done = subprocess.run(
        command,
        cwd=FOLDER.parent,
        env=environment,
        preexec_fn=pin,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [Row(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def show(title: str, topic: str, rows: list[Row]) -> None:
    """Print a topic's rows, each beside its floor."""
    heads = ("case", "isoinit, ms", "peer", "peer, ms", "peer / isoinit", "floor")
    table = Table(*heads, title=title)
    for row in rows:
        table.add_row(*cells(topic, row))
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
