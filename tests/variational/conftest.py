import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Such small products are slower on two threads, and much slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
