"""Parameters of which a model uses a line."""

import pytest
import torch
from torch import nn

from isoinit._planning.transfer.lines import line
from isoinit._planning.verbs import _graph


class Probe(nn.Module):
    """A token that is repeated for each of one example, as those of attention pooling are."""

    def __init__(self, change):
        super().__init__()
        self.token, self.change = nn.Parameter(torch.ones(1, 1, 4)), change
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        token = self.change(self.token).repeat(len(x), 1, 1)
        return self.layer(torch.cat([token, x], 1))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda w: w, (1.0, 0.0)),
        (lambda w: 2 * w, (2.0, 0.0)),
        (lambda w: 1 + w, (1.0, 1.0)),
        (torch.exp, None),
    ],
)
def test_of_what_is_repeated(change, expected):
    model, batch = Probe(change), torch.ones(1, 1, 4)
    graph, _, _ = _graph(model, batch)
    ((_, use),) = graph.uses_of("token")
    assert line(use) == expected
