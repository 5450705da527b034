"""Tensors that share memory."""

import time

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from isoinit._reading.torch.writes import Sharers


@pytest.mark.parametrize("mode", [FakeTensorMode, torch.no_grad])
def test_views_and_their_base_are_found_from_each(mode):
    with mode():
        base, sharers = torch.zeros(4, 4), Sharers()
        row, flat, copy, same = base[0], base.view(-1), base.clone(), base.detach()
        for made in (row, flat, copy, same):
            sharers.note(made, base)
        family = [base, row, flat, same]
        for tensor in family:
            found = sharers.of(tensor)
            assert len(found) == 3
            assert all(any(other is t for t in family) for other in found)
        assert sharers.of(copy) == []


def test_what_is_gone_is_no_longer_found_and_many_views_take_no_longer_each():
    base, sharers = torch.zeros(20_000, 1), Sharers()
    sharers.note(base[0], base)
    assert sharers.of(base) == []
    start = time.perf_counter()
    views = list(base.unbind())
    for view in views:
        sharers.note(view, base)
    assert len(sharers.of(base)) == 20_000
    assert time.perf_counter() - start < 5
