"""What the site needs beyond Markdown: pages for what lies outside `docs/` and is linked from it."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
OUTSIDE = re.compile(r"\]\(((?:\.\./)+)([\w./-]+\.(?:md|py))(#[\w-]+)?\)")
FOLDER = "repository"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add a page for each file outside `docs/` that a page links to: a Markdown file, or code."""
    wanted: set[str] = set()
    for file in files.documentation_pages():
        for up, path, _ in OUTSIDE.findall(file.content_string):
            if (found := _outside(file.src_uri, up, path)) is not None:
                wanted.add(found)
    for path in sorted(wanted):
        files.append(File.generated(config, _page(path), content=_shown(path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Point such links at these pages."""
    where = page.file.src_uri
    start = posixpath.dirname(where) or "."

    def inside(match: re.Match[str]) -> str:
        found = _outside(where, match[1], match[2])
        if found is None:
            return match[0]
        return f"]({posixpath.relpath(_page(found), start)}{match[3] or ''})"

    return OUTSIDE.sub(inside, markdown)


def _outside(where: str, up: str, path: str) -> str | None:
    """The path from the repository's root, if the link of a page leads out of `docs/`."""
    target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(where), up, path))
    return None if target.startswith("docs/") else target


def _page(path: str) -> str:
    return f"{FOLDER}/{path if path.endswith('.md') else f'{path}.md'}"


def _shown(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    return text if path.endswith(".md") else f"# `{path}`\n\n````python\n{text}````\n"
