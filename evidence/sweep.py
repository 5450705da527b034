"""Looks at each of many models in a process of its own, which may crash or be stopped."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from rich.progress import track

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is fetched: configs are made, weights are random
LIMIT_S = 240
PATIENCE = 8
Look = Callable[[str], dict[str, Any]]


def sweep(
    look: Look,
    families: list[str],
    jobs: int,
    doing: str,
    *,
    limit_s: float = LIMIT_S,
    rows: Path | None = None,
) -> list[dict[str, Any]]:
    """What became of each family, some at a time.

    Args:
        look: what to do with a family; what it raises is noted as `failed`.
        families: their names.
        jobs: how many at a time.
        doing: what to say on the way.
        limit_s: seconds of processor time that one look may take, so that a busy machine changes no
            row; `PATIENCE` times as many may pass.
        rows: a file that each row is added to as it is made. A family that has its row there is not
            looked at again: an interrupted sweep goes on where it stopped.
    """
    _load()
    if rows:
        rows.parent.mkdir(parents=True, exist_ok=True)
    kept = rows_of(rows) if rows else {}
    writing = Lock()

    def row_of(family: str) -> dict[str, Any]:
        if family in kept:
            return kept[family]
        row = _apart(look, family, limit_s)
        if rows:
            with writing, rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        return row

    with ThreadPoolExecutor(jobs) as pool:
        return list(track(pool.map(row_of, families), doing, total=len(families)))


def _load() -> None:
    """Load what a look needs, once and not in each process: some of it loads when it first runs.

    Nothing is sent back through a model here: after that torch refuses to do so in a forked process.
    """
    import torch
    import transformers  # noqa: F401

    import isoinit
    from isoinit import audit, check  # noqa: F401

    torch.set_num_threads(1)
    with torch.no_grad():
        isoinit.init(torch.nn.Linear(2, 2), torch.randn(4, 2))


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    """The rows that a file holds, by family; the last line may be torn."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        if line.endswith("}"):
            row = json.loads(line)
            found[row["family"]] = row
    return found


def words(error: Any) -> str:
    """An error on one line of a table."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text.replace("|", "/")[:600]


def _apart(look: Look, family: str, limit_s: float) -> dict[str, Any]:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(look, family, sender, limit_s))
    process.start()
    sender.close()
    long = {"family": family, "runs": False, "why": f"took more than {limit_s:g} s"}
    try:
        return dict(receiver.recv()) if receiver.poll(PATIENCE * limit_s) else long
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGXCPU:
            return long
        return {"family": family, "runs": False, "why": f"its process ended: {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def _send(look: Look, family: str, sender: Any, limit_s: float) -> None:
    end = math.ceil(limit_s)
    # The signal ends the process, whatever handler a library has set: LLVM has one.
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CPU, (end, end + 10))
    try:
        sender.send(look(family))
    except Exception as error:  # isoinit's own fault
        sender.send({"family": family, "class": "", "failed": words(error)})
