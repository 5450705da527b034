"""Reads a JAX model by tracing its own apply into a jaxpr, and the jaxpr into a graph.

A jaxpr is the model in primitives: every call is inlined, loops over layers and over time are walked
step by step, and what the primitives spell out (a softmax, a norm layer, a layer with its bias) is
recorded as one operation, under the names that torch has for it. Parameters are never read and need no
memory.

`walk` (the equations of a jaxpr, one after the other), `held` (what a variable holds), `recorder` (the
operations of the graph), `table` (which primitive is read by what), `numerics` (primitives replayed on
NumPy arrays). Import the names below from here.
"""

from isoinit._reading.jax.evaluate import Evaluation
from isoinit._reading.jax.moments import moments_of
from isoinit._reading.jax.walk import Traced, trace

__all__ = ["Evaluation", "Traced", "moments_of", "trace"]
