"""`Sparse`, nine tenths zeros, against `torch.nn.init.sparse_`."""

from functools import partial

import torch

import isoinit
from benchmarks.filling import filling
from benchmarks.timing import emit

if __name__ == "__main__":
    peer = partial(torch.nn.init.sparse_, sparsity=0.9)
    emit(filling(isoinit.Sparse(density=0.1), "sparse_", peer, (2048, 2048)))
