"""Runs the topics, prints a table, and writes `benchmarks/results.md` when all of them ran.

Each topic runs in processes of its own, one for each number of threads, in which it and its peers
get the same processors.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

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
    "checking": ("Checking a model, beside one training step", (1,)),
    "variational": ("Weights as distributions", (2,)),
    "sparse_training": ("A sparse layer beside a dense one", (1,)),
    "checkpoint": ("Writing a checkpoint", (2,)),
    "spread": ("A model under fully_shard", (None,)),
    "jax": ("Arrays of JAX", (2,)),
    "jax_plans": ("Planning a Llama of 6.7 G parameters in JAX", (1,)),
    "jax_streams": ("Numbers made inside jax.jit", (2,)),
    "page": ("The page of a large model", (None,)),
    "import_time": ("Importing", (None,)),
    "gpu": ("Filling one tensor on a GPU", (None,)),
}
SKIPPED = "Skipped: it needs a GPU."  # the one reason for a topic without rows
PREFACE = (
    "Written by `python -m benchmarks`. Both sides ran in one process in turns (imports: in",
    "processes of their own); times are medians (of a first call: that call). Nothing was done to",
    "quiet the machine, whose load averages are given: read the ratios and not the times. Above 1",
    "isoinit takes less time; a difference of a tenth means nothing. Matrix products (Orthogonal) on",
    "all cores wait for the slowest thread: with another process beside them both sides were seen to",
    "take ten times as long. One forward, `import torch` and `Tensor.fill_` are yardsticks and not",
    "rivals.",
)
PACKAGES = ("torch", "numpy", "numba", "jax", "transformers")


def main(wanted: list[str]) -> None:
    unknown = set(wanted) - set(TOPICS)
    if unknown:
        sys.exit(f"no topic {', '.join(sorted(unknown))}; expected some of {', '.join(TOPICS)}")
    facts = machine()
    tables = {
        title if threads is None else f"{title}, threads: {threads}": run(topic, threads)
        for topic, (title, counts) in TOPICS.items()
        if topic in wanted or not wanted
        for threads in counts
    }
    facts["load average at the end"] = load()
    console = Console()
    for name, value in facts.items():
        console.print(f"{name}: {value}", highlight=False)
    for title, rows in tables.items():
        if not rows:
            console.print(f"{title}: {SKIPPED}", highlight=False)
            continue
        table = Table("case", "isoinit, ms", "peer", "peer, ms", "peer / isoinit", title=title)
        for row in rows:
            table.add_row(*cells(row))
        console.print(table)
    if not wanted:
        (FOLDER / "results.md").write_text(report(facts, tables), encoding="utf-8")


def run(topic: str, threads: int | None) -> list[Row]:
    """A topic's rows, measured in a fresh process on `threads` processors."""
    environment = dict(os.environ)
    command = [sys.executable, "-m", f"benchmarks.{topic}"]
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


def cells(row: Row) -> tuple[str, ...]:
    ours = f"{1e3 * row.ours_s:.3g}"
    if row.peer_s is None:
        return row.case, ours, row.peer, "refuses", ""
    return row.case, ours, row.peer, f"{1e3 * row.peer_s:.3g}", f"{row.peer_s / row.ours_s:.2f}"


def machine() -> dict[str, str]:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "processor": f"{processor()}, {os.cpu_count()} cores, {platform.machine()}",
        "system": f"{platform.system()}, Python {platform.python_version()}",
        "packages": packages,
        "load average at the start": load(),
    }


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def load() -> str:
    return f"{os.getloadavg()[0]:.1f} over one minute" if hasattr(os, "getloadavg") else "unknown"


def report(facts: dict[str, str], tables: dict[str, list[Row]]) -> str:
    """The same as a page."""
    lines = [
        "# Benchmark results",
        "",
        *PREFACE,
        "",
        *[f"- {name}: {value}" for name, value in facts.items()],
    ]
    for title, rows in tables.items():
        lines += ["", f"## {title}", ""]
        if not rows:
            lines += [SKIPPED]
            continue
        lines += ["| case | isoinit, ms | peer | peer, ms | peer / isoinit |"]
        lines += ["|---|---:|---|---:|---:|"]
        lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
