"""A model whose constructor draws truncated normals: `BltModel`, built and initialized.

Its depth and its tables are cut, so that the peer takes some 20 seconds.
"""

from torch import nn
from transformers import AutoModel, BltConfig

import isoinit
from benchmarks.timing import Row, compare, emit


def build() -> nn.Module:
    config = BltConfig(encoder_hash_byte_group_vocab=20_000)
    for part in ("patcher_config", "encoder_config", "decoder_config", "global_config"):
        getattr(config, part).num_hidden_layers = 1
    return AutoModel.from_config(config)


def ours() -> nn.Module:
    with isoinit.deferred():
        model = build()
    isoinit.init(model, seed=0)
    return model


def rows() -> list[Row]:
    size = sum(parameter.numel() for parameter in ours().parameters()) / 1e6
    case = f"BltModel, {size:.0f} M parameters, deferred and init"
    return [compare(case, ours, "from_config", build, repeats=1)]


if __name__ == "__main__":
    emit(rows())
