"""A traced model as data; nothing here knows how it was read.

`ops` (one operation), `dataflow` (which values flow between operations), `norms` and `joins` (norm
layers and residual sums, found from the operations alone), `charts` (weights that are computed from
parameters), `graph` (all of it), `replay` (operations run again on arrays). Import the names below
from here; `Graph` hands out norms and joins itself.
"""

from isoinit._reading.graph.charts import Chart, Length
from isoinit._reading.graph.graph import Given, Graph
from isoinit._reading.graph.joins import Join
from isoinit._reading.graph.norms import second_of
from isoinit._reading.graph.ops import (
    BESIDE,
    COMPOSED,
    LAYERS,
    PRODUCTS,
    STATISTICS,
    SUMS,
    Array,
    Detail,
    Kind,
    Made,
    Mixed,
    Op,
    Part,
    Pull,
    Replay,
    ReplayError,
    Use,
    first_line,
)
from isoinit._reading.graph.replay import Times, elementwise, pull_back, run_ops

__all__ = [
    "BESIDE",
    "COMPOSED",
    "LAYERS",
    "PRODUCTS",
    "STATISTICS",
    "SUMS",
    "Array",
    "Chart",
    "Detail",
    "Given",
    "Graph",
    "Join",
    "Kind",
    "Length",
    "Made",
    "Mixed",
    "Op",
    "Part",
    "Pull",
    "Replay",
    "ReplayError",
    "Times",
    "Use",
    "elementwise",
    "first_line",
    "pull_back",
    "run_ops",
    "second_of",
]
