"""`Normal` against `torch.nn.init.normal_`."""

from functools import partial

import torch

import isoinit
from benchmarks.filling import filling
from benchmarks.timing import emit

if __name__ == "__main__":
    peer = partial(torch.nn.init.normal_, std=0.02)
    emit(filling(isoinit.Normal(std=0.02), "normal_", peer, (4096, 4096)))
