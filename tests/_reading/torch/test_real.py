"""Computing on real tensors in the middle of a run leaves nothing behind."""

import pytest
import torch

import isoinit
from isoinit._reading.torch.real import one_thread


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_small_arrays_are_computed_by_one_thread_and_the_callers_number_comes_back(threads):
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads
    with pytest.raises(ZeroDivisionError), one_thread():
        _ = 1 / 0
    assert torch.get_num_threads() == threads


def test_a_plan_leaves_the_number_of_threads(threads):
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    isoinit.plan(model, torch.zeros(1, 8))
    assert torch.get_num_threads() == threads
