"""The page of a large model: how long it takes to write, and until a browser shows it from disk."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.timing import Row, compare, emit
from isoinit._showing.page import Chart, Histogram, Page, Table, alike, by_kind, folds, render, save

LAYERS, PARAMETERS, METHODS = 1_000, 10_000, 12
LIMIT_S = 2.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
FIRST = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
REASON = "its input is the output of gelu, whose second moment was computed; gain 1.534 makes it 1"


def pages() -> dict[str, Page]:
    """As large as they are asked to be."""
    random.seed(0)
    names = [f"model.layers.{i}.mlp.down_proj" for i in range(LAYERS)]
    one = [chart(title, names, ["signal", "rms"]) for title in ("Forward", "Backward")]
    methods = [f"method {i}" for i in range(METHODS)]
    several = [chart(title, names, methods) for title in ("Forward", "Backward", "Training")]
    return {
        "plan": Page("Plan", charts=one, tables=[parameters(REASON)]),
        "check": Page("Check", "healthy", charts=one, tables=[parameters("", histograms=True)]),
        "comparison": Page("Comparison", "complete", charts=several, methods=methods),
        "all of it": Page(
            "All", charts=several, tables=[parameters(REASON, histograms=True)], methods=methods
        ),
    }


def chart(title: str, names: list[str], curves: list[str]) -> Chart:
    kinds = alike(names, [""] * LAYERS)
    lines = [
        curve
        for k, name in enumerate(curves)
        for curve in by_kind(
            kinds, [10 ** (-i * k / LAYERS + random.random()) for i in range(LAYERS)], name
        )
    ]
    return Chart(title, "layer", "size", lines, names)


def parameters(reason: str, *, histograms: bool = False) -> Table:
    columns = ("parameter", "shape", "initializer", "std", "rms", "largest", "role", "reason")
    rows = [
        (
            f"model.layers.{i // 10}.self_attn.part_{i % 10}.weight",
            "4096×4096",
            "HeNormal(gain=1.414)",
            random.random(),
            random.random(),
            random.random(),
            "weight before silu",
            reason,
        )
        for i in range(PARAMETERS)
    ]
    bins = [
        Histogram(-random.random(), random.random(), random.choices(range(2000), k=32))
        for _ in range(PARAMETERS if histograms else 0)
    ]
    kinds = alike([row[0] for row in rows], [i % 10 for i in range(PARAMETERS)])
    return Table(
        "Parameters",
        columns,
        rows,
        ("initializer", "role"),
        bins,
        folds=folds(kinds, rows),
        details=("reason",),
        main=("std",),
    )


@contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        executable = next(filter(None, map(shutil.which, BROWSERS)))
        found = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield found
        found.close()


def first_paint(browser: Any, path: Path, repeats: int = 5) -> float:
    """Seconds until the page shows something, the median over windows of their own."""
    times = []
    for _ in range(repeats):
        window = browser.new_page()
        window.set_default_timeout(120_000)
        window.goto(path.as_uri())
        window.screenshot()  # by then it has been painted
        times.append(window.evaluate(FIRST) / 1e3)
        window.close()
    return median(times)


def rows() -> list[Row]:
    found = []
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        for name, page in pages().items():
            path = save(page, Path(folder) / "page.html")
            case = f"{name}, {path.stat().st_size / 1e6:.2f} MB"
            found += [
                compare(
                    f"{case}, written",
                    lambda page=page: render(page),
                    "json.dumps of the facts",
                    lambda page=page: json.dumps(asdict(page)),
                    repeats=3,
                ),
                Row(f"{case}, first paint", "the limit", first_paint(chromium, path), LIMIT_S),
            ]
    return found


if __name__ == "__main__":
    emit(rows())
