"""A model read as data: a graph of operations, and what each parameter is for in it. No framework.

`graph/` (operations, what flows between them, their replay on arrays), `activation` (a function,
known by its values), `pointwise` (functions between weights), `subgraphs` (small patterns),
`queries` (what attention makes its scores of), `plain_stacks` (deep stacks), `chain_points` (which
weights keep them alive), `few_inputs`, `modulations` and `estimates` (first layers of few numbers,
scales of other signals, outputs that are numbers), `roles`, and `reading` (all of it as text).
`torch/` makes the graph from a PyTorch model: the only part that imports torch. `jax/` makes it
from a jaxpr. `moments` and `constants` are what both say of arrays. Planning, writing and verifying
import these modules by name.
"""
