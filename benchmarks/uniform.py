"""`Uniform` against `torch.nn.init.uniform_`."""

from functools import partial

import torch

import isoinit
from benchmarks.filling import filling
from benchmarks.timing import emit

if __name__ == "__main__":
    peer = partial(torch.nn.init.uniform_, a=-0.1, b=0.1)
    emit(filling(isoinit.Uniform(-0.1, 0.1), "uniform_", peer, (4096, 4096)))
