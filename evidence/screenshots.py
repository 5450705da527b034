"""Pictures of pages in a browser, for a small GPT-2: docs/pictures/page-*.png.

Run by `make screenshots`; takes a minute, and needs Chromium.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import sync_playwright
from transformers import GPT2Config, GPT2LMHeadModel

import isoinit

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import ARGUMENTS, NAMES, opened  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
DESK, PHONE = (1280, 960), (390, 1300)  # pixels
LOW = (1280, 780)
MOST = 150_000  # bytes of a picture
TABLE = "document.querySelector('#tables').scrollIntoView()"
CHARTS = "document.querySelector('#methods').scrollIntoView()"


def main() -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        pages = written(Path(folder))
        executable = next(filter(None, map(shutil.which, NAMES)))
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        shoot(browser, pages["plan"], "page-plan", DESK)
        shoot(browser, pages["plan"], "page-plan-phone", PHONE, TABLE)
        shoot(browser, pages["check"], "page-check-dark", DESK, scheme="dark")
        shoot(browser, pages["diff"], "page-diff", DESK)
        shoot(browser, pages["both"], "page-two-checks", DESK)
        shoot(browser, pages["comparison"], "page-compare", LOW, CHARTS)
        browser.close()


def written(folder: Path) -> dict[str, Path]:
    """The pages, by what they show."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_embd=128, n_layer=6, n_head=4, vocab_size=512))
    tokens = torch.randint(512, (4, 32))
    batch = {"input_ids": tokens, "labels": tokens}
    plan = isoinit.plan(model, tokens)
    weights = {"transformer.h.*.attn.c_attn.weight": isoinit.Normal(std=0.05)}
    before = isoinit.check(model, batch)
    plan.apply(model, seed=0)
    after = isoinit.check(model, batch, plan=plan)
    found = isoinit.compare(deep, torch.randn(64, 64), ["default", "plan", "he"], 200)
    shown = {
        "plan": plan,
        "check": after,
        "diff": plan.diff(isoinit.plan(model, tokens, overrides=weights)),
        "both": before.diff(after),
        "comparison": found,
    }
    for name, one in shown.items():
        one.to_html(folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in shown}


def deep() -> torch.nn.Module:
    """Twenty layers, built anew at each call."""
    layers = [layer for _ in range(20) for layer in (torch.nn.Linear(64, 64), torch.nn.ReLU())]
    return torch.nn.Sequential(*layers, torch.nn.Linear(64, 8))


def shoot(
    browser: Any,
    page: Path,
    name: str,
    size: tuple[int, int],
    script: str = "0",
    scheme: str = "light",
) -> None:
    """Write one picture of a page.

    Args:
        browser: that of playwright.
        page: the file.
        name: of the picture.
        size: of the window, in pixels.
        script: what is done before.
        scheme: "light" or "dark".
    """
    window = {"width": size[0], "height": size[1]}
    path = PICTURES / f"{name}.png"
    with opened(browser, page, viewport=window, color_scheme=scheme) as tab:
        tab.evaluate(script)
        tab.wait_for_timeout(300)  # charts are drawn with a later frame
        tab.screenshot(path=path)
    assert path.stat().st_size < MOST, path


if __name__ == "__main__":
    main()
