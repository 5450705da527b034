"""What can be shown as a page: a mixin for plans and verdicts."""

from __future__ import annotations

import os

from isoinit._showing.page.facts import Page
from isoinit._showing.page.html import framed, render, write


class Shown:
    """What can be shown as a page: in a file, or in a notebook."""

    def _page(self) -> Page:
        """What the page shows."""
        raise NotImplementedError

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """All of it as one HTML file that needs no network, to open from disk or to send.

        Args:
            path: where to write it too; nothing is written without.

        Returns:
            The HTML.

        Raises:
            ArgumentError: if the path's folder does not exist, or the path is a folder.

        Example:
            >>> import isoinit, torch
            >>> plan = isoinit.plan(torch.nn.Linear(4, 2), torch.zeros(1, 4))
            >>> plan.to_html().startswith("<!doctype html>")
            True
        """
        html = render(self._page())
        if path is not None:
            write(html, path)
        return html

    def _repr_html_(self) -> str:
        """The page in a frame of its own, as notebooks show it."""
        return framed(render(self._page()))
