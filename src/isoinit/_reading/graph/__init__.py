"""A traced model as data; nothing here knows how it was read.

`ops` (one operation), `dataflow` (which values flow between operations), `norms` and `joins` (norm
layers and residual sums, found from the operations alone), `charts` (weights that are computed from
parameters), `graph` (all of it), `replay` (operations run again on arrays). Import the names below
from here; `Graph` hands out norms and joins itself.
"""

from isoinit._reading.graph.charts import Chart, Length
from isoinit._reading.graph.graph import Given, Graph
from isoinit._reading.graph.joins import Join
from isoinit._reading.graph.ops import (
    LAYERS,
    PRODUCTS,
    STATISTICS,
    SUMS,
    Array,
    Detail,
    Kind,
    Op,
    Replay,
    Use,
)
from isoinit._reading.graph.replay import elementwise, run_ops

__all__ = [
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
    "Op",
    "Replay",
    "Use",
    "elementwise",
    "run_ops",
]
