# mypy: ignore-errors
# ruff: noqa: ARG001
# Numba has no types, and its signatures are fixed.
"""The matrices of `isoinit._drawing.haar.reflectors`, with the same bits, compiled by Numba.

All matrices are kept in panels, 16 columns wide and as tall as the sums are long, one behind another
in flat memory. A tile of a product is then the sum over two panels read from top to bottom, and if the
product is a panel too, its 16 × 16 elements lie side by side. The transpose of V is stored as well,
because VᵀV sums over its rows and V·X over its columns. What is zero for sure is neither stored nor
summed, which changes no bit: a panel of a triangle begins or ends at its diagonal. Beside each matrix
go the places `…_at` of its panels: term t of panel p begins at `at[p] + 16 t`. `threads` calls the
kernels.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from isoinit._drawing.haar import reflectors
from isoinit._drawing.jit import kernel, widest_vectors

# Numba's cache on disk follows this file alone: a change of these numbers has to change this line.
if (reflectors.TILE, reflectors.RUN) != (16, 64):
    raise ImportError("kernels.py implements another definition than reflectors.py")

TILE, RUN = 16, 64


@intrinsic
def _add_tile(typingctx, out, out_at, a, a_at, b, b_at, count):
    """``out[i, j] += sum of a[t, i] * b[t, j]`` over one run of `count` terms, all 16 wide.

    ``…_at`` are flat indices into contiguous arrays.
    """

    def codegen(context, builder, signature, arguments):
        element = context.get_value_type(out.dtype)
        arrays = zip(signature.args[:6:2], arguments[:6:2], arguments[1:6:2], strict=True)
        pointers = [
            builder.gep(context.make_array(kind)(context, builder, array).data, [at])
            for kind, array, at in arrays
        ]
        # A tile's sums take half of the registers: enough to hide how long an addition takes.
        wide = "+avx512f" in context.codegen().magic_tuple()[2]
        width, vectors = (64, 16) if wide else (32, 8)
        lanes = width // context.get_abi_sizeof(element)
        rows = min(TILE, vectors * lanes // TILE)
        builder.function.attributes.add("noinline")  # or this long code is compiled at each call
        for first in range(0, TILE, rows):
            _add_rows(builder, element, lanes, range(first, first + rows), *pointers, arguments[6])
        return context.get_dummy_value()

    return types.void(out, types.int64, a, types.int64, b, types.int64, types.int64), codegen


def _add_rows(builder, element, lanes, rows, out, a, b, count):
    """Some rows of the tile, kept in registers over the whole run."""
    vector = ir.VectorType(element, lanes)
    parts = range(TILE // lanes)
    int64, int32 = ir.IntType(64), ir.IntType(32)
    every_lane = ir.Constant(ir.VectorType(int32, lanes), None)

    def vectors(base, at):
        """The addresses of 16 elements' vectors."""
        for part in parts:
            start = builder.add(at, int64(part * lanes))
            yield builder.bitcast(builder.gep(base, [start]), vector.as_pointer())

    def load(address):
        value = builder.load(address)
        value.align = 4  # NumPy promises no more
        return value

    before = builder.block
    loop, after = builder.append_basic_block("term"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    term = builder.phi(int64)
    sums = [[builder.phi(vector) for _ in parts] for _ in rows]
    top = builder.mul(term, int64(TILE))
    right = [load(address) for address in vectors(b, top)]
    new = []
    for i, old in zip(rows, sums, strict=True):
        one = builder.load(builder.gep(a, [builder.add(top, int64(i))]))
        single = builder.insert_element(ir.Constant(vector, ir.Undefined), one, int32(0))
        left = builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), every_lane)
        new.append([_fma(builder, left, r, o) for r, o in zip(right, old, strict=True)])
    following = builder.add(term, int64(1))
    for phi, value in [(term, following), *zip(chain(*sums), chain(*new), strict=True)]:
        phi.add_incoming(ir.Constant(phi.type, None), before)
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    builder.position_at_end(after)
    for i, values in zip(rows, new, strict=True):
        for address, value in zip(vectors(out, int64(i * TILE)), values, strict=True):
            store = builder.store(builder.fadd(load(address), value), address)
            store.align = 4


def _fma(builder, a, b, c):
    """``a * b + c``, rounded once in float32 and twice in float64, as the definition has it."""
    if isinstance(a.type.element, ir.DoubleType):
        return builder.fadd(builder.fmul(a, b), c)
    name = f"llvm.fma.v{a.type.count}f32"
    fma = builder.module.globals.get(name)
    if fma is None:
        fma = ir.Function(builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
    return builder.call(fma, [a, b, c])


@njit
def _add(out, at, a, left, b, right, first, last):
    """Add the terms `first` to `last`, of one run, of the panels at `left` and `right` to a tile."""
    widest_vectors()
    if first < last:
        _add_tile(out, at, a, left + first * TILE, b, right + first * TILE, last - first)


@njit
def _copy(to, values):
    # As an assignment of arrays it takes seconds to compile, for the sake of its error's text.
    for i in range(to.size):
        to[i] = values[i]


@njit
def _squares(x, lanes):
    widest_vectors()
    lanes[:] = 0
    whole = x.size // TILE * TILE
    for start in range(0, whole, TILE):
        part = x[start : start + TILE]
        for lane in range(TILE):
            value = np.float64(part[lane])
            lanes[lane] += value * value
    for i in range(whole, x.size):
        value = np.float64(x[i])
        lanes[i - whole] += value * value
    total = lanes[0]
    for lane in range(1, TILE):
        total += lanes[lane]
    return total


@kernel
def reflect(normals, v, v_at, vt, vt_at, signs, halves, first, last):
    """Make panels `first` to `last` of V, and those rows of all panels of its transpose."""
    widest_vectors()
    k, n = normals.shape
    x, lanes = np.empty((TILE, vt_at.size * TILE), v.dtype), np.empty(TILE)
    for panel in range(first, last):
        top = panel * TILE
        x[:, top:] = 0
        for j in range(top, min(top + TILE, k)):
            row = x[j - top, j:n]
            _copy(row, normals[j, j:])
            length, leading = np.sqrt(_squares(row, lanes)), np.float64(row[0])
            signs[j] = -1 if leading < 0 else 1
            scale = x.dtype.type(1 / np.sqrt(length * (length + abs(leading))))
            row[0] += signs[j] * x.dtype.type(length)
            for i in range(row.size):
                row[i] *= scale
            halves[j] = 0.5 * _squares(row, lanes)
        at = v_at[panel]
        for i in range(top, n):
            for j in range(TILE):
                v[at + i * TILE + j] = x[j, i]
        for other in range(panel, vt_at.size):
            for j in range(TILE):
                at = vt_at[other] + (top + j) * TILE
                _copy(vt[at : at + TILE], x[j, other * TILE : other * TILE + TILE])


@kernel
def multiply_gram(v, v_at, n, gram, gram_at, rows, stop_rows, columns, stop_columns):
    """Make the tiles of -S below the diagonal, transposed, and those of S on it, within bounds."""
    for p in range(columns, stop_columns):
        top = gram_at[p]
        gram[top + max(rows, p) * TILE * TILE : top + stop_rows * TILE * TILE] = 0
    for start in range(rows * TILE // RUN * RUN, n, RUN):
        for p in range(columns, stop_columns):
            for q in range(max(rows, p), stop_rows):
                at, begin = gram_at[p] + q * TILE * TILE, max(start, q * TILE)
                _add(gram, at, v, v_at[q], v, v_at[p], begin, min(start + RUN, n))
    for p in range(columns, stop_columns):
        top = gram_at[p]
        for i in range(top + max(rows, p + 1) * TILE * TILE, top + stop_rows * TILE * TILE):
            gram[i] = -gram[i]


@kernel
def invert(gram, gram_at, halves, inverses):
    """Invert S's tiles on the diagonal, transposed, column by column from the bottom up."""
    for panel in range(len(inverses)):
        top = panel * TILE
        at = gram_at[panel] + top * TILE
        upper, inverse = gram[at : at + TILE * TILE].reshape(TILE, TILE), inverses[panel]
        inverse[:] = 0
        for column in range(TILE):
            for i in range(column, -1, -1):
                value = inverses.dtype.type(i == column)
                for j in range(i + 1, column + 1):
                    value -= upper[i, j] * inverse[column, j]
                inverse[column, i] = value / halves[top + i]


@kernel
def solve(gram, gram_at, inverses, vt, vt_at, factors, solved, solved_at, first, last):
    """Make column panels `first` to `last` of S⁻¹Vᵀ, times factors: by runs from the last one up."""
    in_run, size = RUN // TILE, TILE * TILE
    known, flat = np.empty(size, solved.dtype), inverses.reshape(-1)
    for c in range(first, last):
        count = (c + 1) * size
        _copy(solved[solved_at[c] : solved_at[c] + count], vt[vt_at[c] : vt_at[c] + count])
    for run in range((last - 1) // in_run, -1, -1):
        top, stop = run * in_run, min((run + 1) * in_run, last)
        for later in range(run + 1, (last - 1) // in_run + 1):
            start = later * RUN
            for c in range(max(first, later * in_run), last):
                end, here = min(start + RUN, (c + 1) * TILE), solved_at[c]
                for p in range(top, stop):
                    _add(solved, here + p * size, gram, gram_at[p], solved, here, start, end)
        for c in range(max(first, top), last):
            end, here = min((c + 1) * TILE, (run + 1) * RUN), solved_at[c]
            for p in range(min(stop - 1, c), top - 1, -1):
                at = here + p * size
                _add(solved, at, gram, gram_at[p], solved, here, (p + 1) * TILE, end)
                _copy(known, solved[at : at + size])
                solved[at : at + size] = 0
                _add(solved, at, flat, p * size, known, 0, 0, TILE)
    for c in range(first, last):
        for i in range((c + 1) * TILE):
            for j in range(TILE):
                solved[solved_at[c] + i * TILE + j] *= factors[c * TILE + j]


@kernel
def multiply(a, a_at, b, b_at, out, rows, stop_rows, columns, stop_columns):
    """Multiply out a square of ABᵀ; A and B have no terms right of their diagonals."""
    tile, flat = np.empty(TILE * TILE, out.dtype), out.reshape(-1)
    height, width = out.shape
    for c in range(columns, stop_columns):
        for r in range(rows, stop_rows):
            tile[:] = 0
            end = (min(r, c) + 1) * TILE
            for start in range(0, end, RUN):
                _add(tile, 0, a, a_at[r], b, b_at[c], start, min(start + RUN, end))
            first = c * TILE
            for i in range(min(TILE, height - r * TILE)):
                at, part = (r * TILE + i) * width + first, tile[i * TILE : i * TILE + TILE]
                if first + TILE <= width:
                    to = flat[at : at + TILE]
                    for j in range(TILE):
                        to[j] = part[j]
                else:
                    for j in range(width - first):
                        flat[at + j] = part[j]


@kernel
def make_alone(normals, out, gain, places, memory, first, last):
    """Make matrices `first` to `last`, one after another, with what `threads.rooms` gives."""
    _, k, n = normals.shape
    v_at, vt_at, gram_at, solved_at = places
    v, vt, gram, inverses, signs, halves = memory
    panels, height = v_at.size, vt_at.size
    for matrix in range(first, last):
        here = out[matrix]
        signs[:], halves[:] = 1, 1
        reflect(normals[matrix], v, v_at, vt, vt_at, signs, halves, 0, panels)
        multiply_gram(v, v_at, n, gram, gram_at, 0, panels, 0, panels)
        invert(gram, gram_at, halves, inverses)
        factors = signs * gain
        solve(gram, gram_at, inverses, vt, vt_at, factors, v, solved_at, 0, panels)
        if out.shape[2] == k:
            multiply(vt, vt_at, v, solved_at, here, 0, height, 0, panels)
        else:
            multiply(v, solved_at, vt, vt_at, here, 0, panels, 0, height)
        for j in range(k):
            here[j, j] -= factors[j]
