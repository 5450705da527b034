"""Which reader reads which torch function.

To read another function, add its plain name here (see `calls.function_name`), and its reader to the
file of its family. A reader is given the call; it returns what kind of operation that is, which
tensors carry the signal, and what every parameter is used for, with the meaning of its axes. Where
the call holds no parameter that it knows what to do with, it returns nothing, and the call is
recorded as any other.
"""

from __future__ import annotations

from isoinit._reading.torch.readers import (
    attention,
    convolutions,
    lookups,
    norms,
    products,
    recurrent,
)
from isoinit._reading.torch.readers.call import Reader

READERS: dict[str, Reader] = {
    "linear": products.linear,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), convolutions.conv),
    **dict.fromkeys(
        ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), convolutions.conv
    ),
    "sparse_linear.default": products.sparse_linear,
    "sparse_embedding": lookups.sparse_embedding,
    "bilinear": products.bilinear,
    **dict.fromkeys(
        ("matmul", "mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addbmm", "sparse_mm"),
        products.product,
    ),
    "einsum": products.einsum,
    "tensordot": products.tensordot,
    "inner": products.inner,
    **dict.fromkeys(("grouped_mm", "grouped_mm_fallback"), products.grouped),
    **dict.fromkeys(("getitem", "index_select"), lookups.lookup),
    "scaled_dot_product_attention": attention.scores,
    "embedding": lookups.embedding,
    "embedding_bag": lookups.embedding,
    "batch_norm": norms.norm(3, 4),
    "instance_norm": norms.norm(3, 4),
    "layer_norm": norms.norm(2, 3),
    "group_norm": norms.norm(2, 3),
    "rms_norm": norms.norm(2, None),
    "prelu": norms.prelu,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), recurrent.recurrent),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), recurrent.cell),
    "multi_head_attention_forward": attention.attention,
}
