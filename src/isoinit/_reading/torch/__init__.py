"""Reads a model by running its own forward once and recording what happens.

Parsing fails on most real models (loops, branches on shapes, decorators, keyword arguments), while
every model can be run. The forward runs on fake tensors, which have shapes but no memory and no
arithmetic; where it needs real values (a branch on data), it runs on the real example instead. The
model is as before, byte for byte, also when the forward raises.

`run`, `record` (each call as an operation), `readers/` (what each function does with its parameters; a
new one is added in `readers/table`), `replay` (calls made once more), `calls`, `details`, `fakes`,
`moments` (what is known of calls and tensors), `parametrizations`, `replica` and `charts` (weights
that modules compute), `containers`, `isolate` and `rng` (no trace left), `names`, `trees` (tensors in
what is passed and returned), `modules` and `examples` (where no run or no example is to be had).
Import the names below from here, any other from its module.
"""

from isoinit._reading.torch.examples import trace_made_up
from isoinit._reading.torch.modules import structure
from isoinit._reading.torch.names import named_parameters, require_parameters, unwrap
from isoinit._reading.torch.run import as_arguments, explained, recording, trace

__all__ = [
    "as_arguments",
    "explained",
    "named_parameters",
    "recording",
    "require_parameters",
    "structure",
    "trace",
    "trace_made_up",
    "unwrap",
]
