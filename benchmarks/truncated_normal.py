"""`TruncatedNormal`, cut at two standard deviations, against `torch.nn.init.trunc_normal_`."""

from functools import partial

import torch

import isoinit
from benchmarks.filling import filling
from benchmarks.timing import emit

if __name__ == "__main__":
    peer = partial(torch.nn.init.trunc_normal_, std=0.02, a=-0.04, b=0.04)
    emit(filling(isoinit.TruncatedNormal(std=0.02), "trunc_normal_", peer, (4096, 4096)))
