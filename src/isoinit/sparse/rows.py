"""Which weights of a sparse matrix are dropped, and which places grow: chosen row by row.

Each choice takes the same number of places from every row that it gives back to it, so that a row
keeps its number of weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from isoinit._drawing.streams import Stream
from isoinit.sparse.layers import Places
from isoinit.sparse.products import row_of

Pair = tuple[torch.Tensor, torch.Tensor]  # the gradient at a layer's output, and the layer's input

_CHUNK = 2**26  # bytes of a dense gradient that are made at once


class Rows:
    """The places of a sparse matrix, as sorted numbers row·size + column, and choices among them."""

    def __init__(self, places: Places) -> None:
        self.rows, self.size = places.shape
        self.starts = places.starts.long()
        self.counts = self.starts.diff()
        # Rows that keep the same number of weights are sorted several times as fast.
        self.regular = self.rows > 0 and places.regular
        self.row = row_of(places.starts, places.kept)
        self.places = self.row * self.size + places.columns

    def smallest(self, values: torch.Tensor, quota: torch.Tensor) -> torch.Tensor:
        """Which weights are the `quota` smallest of their row: (kept,)."""
        sizes = values.detach().abs()
        if self.regular:
            within = sizes.view(self.rows, -1).argsort(dim=1, stable=True)
            order = (within + self.starts[:-1, None]).reshape(-1)
        else:
            order = sizes.argsort(stable=True)
            order = order[self.row[order].argsort(stable=True)]
        rank = torch.arange(len(order), device=order.device) - self.starts[:-1][self.row]
        found = torch.empty_like(order, dtype=torch.bool)
        found[order] = rank < quota[self.row]
        return found

    def merged(self, dropped: torch.Tensor, grown: torch.Tensor) -> torch.Tensor:
        """The places that remain and those that have grown, sorted."""
        remain = self.places[~dropped]
        if self.regular:
            lines = torch.cat([p.view(self.rows, -1) for p in (remain, grown)], 1)
            return lines.sort(dim=1).values.reshape(-1)
        return torch.cat([remain, grown]).sort().values

    def steepest(
        self, pairs: Sequence[Pair], dropped: torch.Tensor, quota: torch.Tensor
    ) -> torch.Tensor:
        """The `quota` places of each row, but for those that remain, with the largest gradient.

        The gradient of W is gᵀ·x, summed over examples; some rows of it are made at a time. The places
        come row by row.
        """
        kind = torch.promote_types(pairs[0][1].dtype, torch.float32)
        flat = [(g.reshape(-1, self.rows), x.reshape(-1, self.size).to(kind)) for g, x in pairs]
        together = max(1, _CHUNK // max(self.size * kind.itemsize, 1))
        grown = [self.places[:0]]
        for first in range(0, self.rows, together):
            some = quota[first : first + together, None]
            steep = torch.zeros(len(some), self.size, dtype=kind, device=some.device)
            for g, x in flat:
                steep.addmm_(g[:, first : first + together].T.to(kind), x)
            steep.abs_()
            here = slice(*self.starts[[first, first + len(some)]].tolist())
            at, gone = self.places[here] - first * self.size, dropped[here]
            line = steep.view(-1)
            line[at[~gone]] = -1
            # Else a dead unit, without any gradient, would lose its weights to the first columns.
            line[at[gone]] = line[at[gone]].clamp_min(torch.finfo(kind).tiny)
            most = int(some.max())
            best = steep.topk(most).indices
            best += torch.arange(first, first + len(some), device=best.device)[:, None] * self.size
            grown.append(best[torch.arange(most, device=best.device) < some])
        return torch.cat(grown)

    def random(self, stream: Stream, dropped: torch.Tensor, quota: torch.Tensor) -> torch.Tensor:
        """`quota` places of each row, but for those that remain, every set of them as likely.

        They come row by row where rows are alike, else those of rows of one length together.
        """
        row, number = self._numbers(stream, quota)
        remains = self.places[~dropped]
        left = self.counts - quota
        begins = left.cumsum(0) - left
        owner = self.row[~dropped]
        # A free place's number counts the free ones before it. So does column minus rank of a place
        # that remains, and the number moves up by one for each that does not exceed it.
        rank = torch.arange(len(remains), device=remains.device) - begins[owner]
        before = torch.searchsorted(remains - rank, row * self.size + number, right=True)
        return row * self.size + number + before - begins[row]

    def _numbers(self, stream: Stream, quota: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows, and for each a number among the places of the row that are free."""
        counts, wanted = self.counts.cpu().numpy(), quota.cpu().numpy()
        rows, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for count in np.unique(counts):  # of rows alike, all are drawn at once
            alike = np.flatnonzero(counts == count)
            chosen = int(wanted[alike[0]])
            free = self.size - int(count) + chosen
            drawn = stream.child(str(count)).subsets(len(alike), free, chosen)
            rows.append(np.repeat(alike, chosen))
            numbers.append(drawn.reshape(-1).astype(np.int64))
        device = quota.device
        row, number = (torch.from_numpy(np.concatenate(p)).to(device) for p in (rows, numbers))
        return row, number
