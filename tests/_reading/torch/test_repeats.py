"""A call that was met before is recorded as the first was, with its own numbers and names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isoinit._reading.torch import trace
from isoinit._reading.torch.repeats import Repeats

F = nn.functional


def told(graph):
    uses = [[(u.parameter, u.slot, u.layout, u.part) for u in op.uses] for op in graph.ops]
    return [
        (op.index, op.name, op.kind, op.inputs, op.outputs, op.detail, op.rank, op.unplayed, its)
        for op, its in zip(graph.ops, uses, strict=True)
    ], graph.sizes


class Block(nn.Module):
    """Weights, constants, views, sums of a signal with itself, and a mask of the example."""

    def __init__(self, width=8):
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.outer, self.scale = nn.Linear(width, width), nn.Parameter(torch.ones(width))
        self.register_buffer("waves", torch.arange(width).float().cos())

    def forward(self, x, mask):
        left, right = self.inner(self.norm(x)).chunk(2, -1)
        turned = (left * self.waves.unsqueeze(0) + left).view(*left.shape[:-1], 2, -1)
        turned = torch.cat([-turned[..., 2:], turned[..., :2]], -1).reshape(left.shape)
        kept = torch.where(mask[..., None] > 0, turned, right)
        return x + self.outer(F.gelu(kept)) * self.scale


class Stack(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x, mask):
        for block in self.blocks:
            x = block(x, mask)
        return x


BATCH = torch.randn(3, 5, 8), torch.ones(3, 5, dtype=torch.long)


def without_memory(self, *_args):
    return None


def test_a_stack_is_read_as_if_each_block_were_the_first(monkeypatch):
    model = Stack(Block(), Block(), Block())
    again = trace(model, BATCH)
    assert again.how == "fake"
    monkeypatch.setattr(Repeats, "met", without_memory)
    assert told(again) == told(trace(model, BATCH))


def test_blocks_are_numbered_one_behind_the_other():
    graph = trace(Stack(*[Block() for _ in range(4)]), BATCH)
    names = [op.name for op in graph.ops]
    each = len(names) // 4
    assert names == names[:each] * 4
    first, last = graph.ops[:each], graph.ops[3 * each :]
    for op, other in zip(first, last, strict=True):
        assert (op.kind, op.detail, op.rank) == (other.kind, other.detail, other.rank)
        assert [u.parameter.replace("blocks.0", "blocks.3") for u in op.uses] == [
            u.parameter for u in other.uses
        ]
    assert [value for op in graph.ops for value in op.outputs] == sorted(
        {value for op in graph.ops for value in op.outputs}
    )


class Twice(nn.Module):
    """The same function of the same shapes, of other tensors each time."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.register_buffer("low", torch.full((4,), -3.0))
        self.register_buffer("high", torch.full((4,), 5.0))

    def forward(self, x):
        y = self.first(x)
        square, product = y * y, y * x
        return self.second(square * self.low + product * self.high) * self.low


def test_what_differs_in_its_tensors_alone_is_told_apart():
    graph = trace(Twice(), torch.randn(2, 4))
    products = [op for op in graph.ops if op.name == "mul"]
    y = graph.ops[0].outputs[0]
    assert [op.inputs for op in products[:2]] == [(y, y), (y, graph.ops[0].inputs[0])]
    for op, factor in zip(products[2:], (-3.0, 5.0, -3.0), strict=True):
        (made,) = op.play([torch.ones(2).double().numpy()])
        assert made.tolist() == [factor] * 2


class Written(nn.Module):
    """A constant, and a signal, that are written into between two calls that are alike."""

    def __init__(self, *, into_signal):
        super().__init__()
        self.layer, self.into_signal = nn.Linear(4, 4), into_signal
        self.register_buffer("factor", torch.full((4,), 2.0))

    def forward(self, x):
        y = self.layer(x)
        factor = self.factor.clone()
        first = y * factor
        if self.into_signal:
            y[:, :2] = 0
        else:
            factor.fill_(7.0)
        return first + y * factor


@pytest.mark.parametrize("into_signal", [False, True])
def test_what_was_written_into_is_another(into_signal):
    graph = trace(Written(into_signal=into_signal), torch.randn(2, 4))
    first, second = (op for op in graph.ops if op.name == "mul")
    if into_signal:
        assert first.inputs != second.inputs
    else:
        assert second.play([torch.ones(1).numpy()])[0] == [7.0]


class Chance(nn.Module):
    """Noise that is drawn anew in each block."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
            x = x * (1 + torch.randn_like(x).abs())
        return x


def test_chance_is_drawn_in_each_block(monkeypatch):
    again = trace(Chance(), torch.randn(2, 8))
    monkeypatch.setattr(Repeats, "met", without_memory)
    assert told(again) == told(trace(Chance(), torch.randn(2, 8)))


class Shared(nn.Module):
    """One parameter in two places of one call, and a square one as it is and transposed."""

    def __init__(self):
        super().__init__()
        self.weight, self.other = nn.Parameter(torch.eye(6)), nn.Parameter(torch.eye(6))

    def forward(self, x):
        for weight in (self.weight, self.other):
            x = F.linear(F.linear(x, weight), weight.t())
        return F.bilinear(x, x, torch.stack([self.weight, self.weight]))


def test_a_transposed_weight_is_another_form():
    graph = trace(Shared(), torch.randn(2, 6))
    layouts = [op.uses[0].layout for op in graph.ops if op.name == "linear"]
    assert layouts[0] == layouts[2] != layouts[1] == layouts[3]


class Branches(nn.Module):
    """Looks at values between blocks: it cannot be run without memory."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
            if float(x.sum()) > 1e9:
                break
            x = x[x[:, 0] > -1e9]
        return x


def test_a_forward_that_reads_values_is_run_on_the_example():
    graph = trace(Branches(), torch.randn(3, 4))
    assert graph.how == "real"
    assert [op.name for op in graph.ops if op.kind == "map"] == ["linear"] * 3


@torch.library.custom_op("isoinit_tests::halved", mutates_args=())
def halved(x: torch.Tensor) -> torch.Tensor:
    return x / 2


class NoMeta(nn.Module):
    """Calls an operation that says nothing of the form of what it makes."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

    def forward(self, x):
        for layer in self.layers:
            x = halved(layer(x))
        return x


def test_an_operation_that_fake_tensors_do_not_know_is_run_on_the_example():
    graph = trace(NoMeta(), torch.randn(3, 4))
    assert graph.how == "real"
    assert len([op for op in graph.ops if op.kind == "map"]) == 3
