"""Pages of 1,000 layers, 10,000 parameters and 12 methods in a browser: size, and first paint.

    python -m benchmarks.page [TIMES]

Needs chromium. What is painted first has the findings, the charts and the first rows.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from isoinit.report.page import render

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import ARGUMENTS, NAMES
from pages import large

PAINTED = "performance.getEntriesByName('first-contentful-paint').map((entry) => entry.startTime)"


def main(times: int) -> None:
    start = time.perf_counter()
    text = render(large())
    made = time.perf_counter() - start
    executable = next(filter(None, map(shutil.which, NAMES)))
    paints = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(text, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        for _ in range(times):
            page = browser.new_page()
            page.goto(path.as_uri())
            page.wait_for_function(f"{PAINTED}.length > 0")
            paints += page.evaluate(PAINTED)
            page.close()
        browser.close()
    print(f"{len(text.encode()) / 1e6:.2f} MB, made in {made:.2f} s")
    print(
        f"first paint after {statistics.median(paints):.0f} ms, "
        f"{min(paints):.0f} to {max(paints):.0f} over {times}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
