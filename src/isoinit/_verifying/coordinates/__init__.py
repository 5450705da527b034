"""The coordinate check: how much training moves each layer's output, by the width of the model.

`scores` (of attention) and `outputs` (what a forward makes) → `starts` (how a model starts, and what
trains it) → `trials` (short trainings of each width) → `moves` (what came of a layer, and its slope) →
`judge` (findings); `table` and `pages` show them, `checks` is the verb. Import the names below from
here.
"""

from isoinit._verifying.coordinates.checks import Coordinates, coordinates
from isoinit._verifying.coordinates.moves import Kind, Layer

__all__ = ["Coordinates", "Kind", "Layer", "coordinates"]
