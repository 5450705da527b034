"""Looks at each family of `transformers` in a process of its own, which may crash or be stopped."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.progress import track

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is fetched: configs are made, weights are random
LIMIT_S = 240
Look = Callable[[str], dict[str, Any]]


def sweep(look: Look, families: list[str], jobs: int, doing: str) -> list[dict[str, Any]]:
    """What became of each family, some at a time.

    Args:
        look: what to do with a family; what it raises is noted as `failed`.
        families: their names.
        jobs: how many at a time.
        doing: what to say on the way.
    """
    import transformers  # noqa: F401  # once, and not in each process

    import isoinit  # noqa: F401

    with ThreadPoolExecutor(jobs) as pool:
        found = pool.map(lambda family: _apart(look, family), families)
        return list(track(found, doing, total=len(families)))


def words(error: Any) -> str:
    """An error on one line of a table."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text.replace("|", "/")[:600]


def _apart(look: Look, family: str) -> dict[str, Any]:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(look, family, sender))
    process.start()
    sender.close()
    try:
        if receiver.poll(LIMIT_S):
            return dict(receiver.recv())
        return {"family": family, "runs": False, "why": f"took more than {LIMIT_S} s"}
    except EOFError:
        process.join()
        return {"family": family, "runs": False, "why": f"its process ended: {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def _send(look: Look, family: str, sender: Any) -> None:
    try:
        sender.send(look(family))
    except Exception as error:  # isoinit's own fault
        sender.send({"family": family, "class": "", "failed": words(error)})
