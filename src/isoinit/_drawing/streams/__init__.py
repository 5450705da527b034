"""Reproducible random numbers: each element is a pure function of seed, name and index.

`philox` is the definition in plain NumPy. `kernels` computes the same bits with Numba, and `threads`
deals the work out to several; `triton` computes them on a GPU. `laws` says what to draw. Import
`Stream` from here, and the other modules by their names.
"""

from isoinit._drawing.streams.stream import Stream

__all__ = ["Stream"]
