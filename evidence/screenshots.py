"""Pictures of every page in a browser, light, dark and on a phone: docs/pictures/page-*.png.

Run by `make screenshots`; takes two minutes, and needs Chromium.
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
LOOKS = {  # size of the window in pixels, and colours
    "": ((1280, 960), "light"),
    "-dark": ((1280, 960), "dark"),
    "-phone": ((390, 1300), "light"),
}
MOST = 150_000  # bytes of a picture
# Where a picture begins: on a phone the table, and elsewhere the top, but for these pages.
TABLE, TOP = "document.querySelector('#tables').scrollIntoView()", "0"
BEGIN = {"compare": "document.querySelector('#methods').scrollIntoView()"}


def main() -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        executable = next(filter(None, map(shutil.which, NAMES)))
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        for name, page in written(Path(folder)).items():
            for look, (size, scheme) in LOOKS.items():
                begin = TABLE if look == "-phone" else BEGIN.get(name, TOP)
                shoot(browser, page, f"page-{name}{look}", size, begin, scheme)
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
    shown = {
        "plan": plan,
        "check": after,
        "diff": plan.diff(isoinit.plan(model, tokens, overrides=weights)),
        "two-checks": before.diff(after),
        "compare": isoinit.compare(deep, torch.randn(64, 64), ["default", "plan", "he"], 200),
        "reading": isoinit.read(model, tokens),
        "audit": isoinit.audit(Tower),
        "coordinates": isoinit.coordinates(
            wide, (32, 64, 128, 256), batch=torch.randn(64, 8), parametrization="standard"
        ),
    }
    for name, one in shown.items():
        one.to_html(folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in shown}


def deep() -> torch.nn.Module:
    """Twenty layers, built anew at each call."""
    layers = [layer for _ in range(20) for layer in (torch.nn.Linear(64, 64), torch.nn.ReLU())]
    return torch.nn.Sequential(*layers, torch.nn.Linear(64, 8))


def wide(width: int) -> torch.nn.Module:
    """Three layers, of a width."""
    first, second = torch.nn.Linear(8, width), torch.nn.Linear(width, width)
    last = torch.nn.Linear(width, 4)
    return torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), last)


class Tower(torch.nn.Module):
    """Layers whose scales `reset_parameters` does not reach, and a table in memory of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(64, 64) for _ in range(4))
        self.scales = torch.nn.Parameter(torch.full((4, 64), 1e-5))
        self.register_buffer("angles", torch.arange(64.0), persistent=False)
        self.out = torch.nn.Linear(64, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        for layer, scale in zip(self.layers, self.scales, strict=True):
            x = x + scale * layer(x).relu()
        return self.out(x * self.angles.cos())


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
