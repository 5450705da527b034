"""The documentation is a site: built strictly, whole, and without anything from other hosts."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import isoinit

pytest.importorskip("mkdocs")

ROOT = Path(__file__).parents[1]
# What a browser fetches by itself; links that a reader may follow are none.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|data)="([^"]*)"
    |<link\b(?=[^>]*\brel="(?:stylesheet|icon|shortcut\ icon|preload|preconnect|manifest)")
        [^>]*?\bhref="([^"]*)"
    |url\(["']?([^"')]+)""",
    re.VERBOSE,
)


def build(config, folder):
    """Build a site as `make docs` does. Not quietly: warnings that are not said are not counted."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config, "-d", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built into a temporary folder: the build refuses links that lead nowhere."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    "text",
    ["[gone](gone.md)", "[gone](other.md#gone)", "![gone](gone.svg)", "[gone](../LICENSE)", ""],
)
def test_a_link_that_leads_nowhere_is_refused(text, tmp_path):
    """Under the site's own rules, in a site of two pages, one of which the navigation may lack."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Start\n\n{text}\n", encoding="utf-8")
    (tmp_path / "docs" / "other.md").write_text("# Other\n", encoding="utf-8")
    pages = ["index.md", *(["other.md"] if text else [])]
    config = {"INHERIT": str(ROOT / "mkdocs.yml"), "docs_dir": "docs", "nav": pages}
    config |= {"plugins": [], "hooks": [], "extra_css": [], "theme": {"name": "mkdocs"}}
    (tmp_path / "mkdocs.yml").write_text(json.dumps(config), encoding="utf-8")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert "gone" in done.stderr or "other.md" in done.stderr or "LICENSE" in done.stderr


def test_every_page_is_in_the_navigation(site):
    navigation = (site / "index.html").read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").rglob("*.md")):
        address = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert f'href="{address}"' in navigation, address


def test_nothing_is_fetched_from_elsewhere(site):
    files = [*site.rglob("*.html"), *site.rglob("*.css"), *site.rglob("*.svg")]
    assert len(files) > 50
    for file in files:
        for found in FETCHED.findall(file.read_text(encoding="utf-8")):
            address = "".join(found)
            assert not re.match(r"(https?:)?//", address), f"{file.relative_to(site)}: {address}"


@pytest.mark.parametrize(
    "text",
    [
        '<script async src="https://host/x.js">',
        '<link rel="stylesheet" href="//host/x.css">',
        "@import url(https://host/x.css)",
    ],
)
def test_what_is_fetched_is_seen(text):
    assert any("host" in part for found in FETCHED.findall(text) for part in found)


@pytest.mark.parametrize(
    "module",
    [isoinit, isoinit.functional, isoinit.sparse, isoinit.variational],
    ids=lambda module: module.__name__,
)
def test_the_reference_shows_every_public_name(site, module):
    shown = "".join(
        page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html")
    )
    pages = {"functional", "sparse", "variational"}  # of their own
    for name in set(module.__all__) - pages:
        assert f'id="{module.__name__}.{name}"' in shown, name


# What people look up, and the page that answers.
LOOKED_UP = {
    "LoRA": "adapters",
    "adapters": "adapters",
    "muP": "transfer",
    "fine-tune": "fine-tune",
    "new head": "fine-tune",
    "pretrained": "fine-tune",
    "resize embeddings": "resize-embeddings",
    "W&B": "wandb",
    "wandb": "wandb",
    "Weights & Biases": "wandb",
    "torchtitan": "torchtitan",
    "FSDP2": "torchtitan",
    "CI": "ci",
    "NaN": "nan",
    "loss NaN step 1": "nan",
    "deep network does not train": "deep-network",
    "same weights 1 and 8 GPUs": "same-weights",
    "GAN": "gan",
    "GANs": "gan",
    "DCGAN": "gan",
    "RL": "rl",
    "policy": "rl",
    "SIREN": "siren",
    "PINN": "siren",
    "PINNs": "siren",
    "GNN": "graph-networks",
    "graph network": "graph-networks",
    "diffusion": "diffusion",
    "DiT": "diffusion",
    "U-Net": "diffusion",
    "MoE": "mixture-of-experts",
    "mixture of experts": "mixture-of-experts",
    "state space": "state-space",
    "Mamba": "state-space",
}


@pytest.fixture(scope="module")
def index(site):
    """What the site's search looks into: for each part of a page its address, title and words."""
    made = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    separator = re.compile(made["config"]["separator"])

    def words(text):
        return [word for word in separator.split(text.lower()) if word]

    plain = re.compile("<[^>]+>")
    parts = [(d["location"], d["title"], plain.sub(" ", d["text"])) for d in made["docs"]]
    return words, [(at, words(title), words(text)) for at, title, text in parts]


@pytest.mark.parametrize("query", LOOKED_UP)
def test_the_search_finds_what_is_looked_up(index, query):
    """The page stands first. As in the search, a word of a title counts a thousand times as much."""
    words, parts = index

    def score(title, text):
        held = [
            (any(w.startswith(word) for w in title), any(w.startswith(word) for w in text))
            for word in words(query)
        ]
        return sum(1000 * in_title + in_text for in_title, in_text in held)

    best = max(score(title, text) for _, title, text in parts)
    first = {at.partition("#")[0] for at, title, text in parts if score(title, text) == best > 0}
    assert f"how-to/{LOOKED_UP[query]}.html" in first, first
