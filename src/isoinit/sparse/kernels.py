# mypy: ignore-errors
# ruff: noqa: ARG001
# Numba has no types, and its signatures are fixed.
"""Products of a sparse matrix with batches, compiled by Numba.

A batch is cut into panels of some examples (lanes), and a panel stores the examples side by side for
each feature: (panels, features, lanes). Then one weight multiplies a run of neighbouring numbers, and
the sum of a unit stays in registers while its inputs go by. A dense product needs every weight; this
one needs as many of these steps as there are weights kept, each at about half of the speed.

The code of a row is written as LLVM instructions, because loops in Numba do not keep the lanes in
registers. How many lanes there are is told by the length of a tuple, which is part of its type.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from isoinit._drawing.jit import kernel, widest_vectors

_DOTS = (
    8  # of one row, together: as many as the numbers of a vector, whose sums are then transposed
)
_AHEAD = 4  # rows: so far before their turn their next weights are asked for
_LINES = 3  # of the cache, each of 64 bytes: about as many weights as a row has in a tile
_INT64, _INT32 = ir.IntType(64), ir.IntType(32)


def _address(context, builder, kind, array, at):
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


def _load(builder, address, vector, align):
    value = builder.load(builder.bitcast(address, vector.as_pointer()))
    value.align = align
    return value


def _store(builder, value, address, align):
    builder.store(value, builder.bitcast(address, value.type.as_pointer())).align = align


def _fma(builder, a, b, c):
    wide = isinstance(a.type, ir.VectorType)
    kind = "f32" if isinstance(a.type.element if wide else a.type, ir.FloatType) else "f64"
    name = f"llvm.fma.v{a.type.count}{kind}" if wide else f"llvm.fma.{kind}"
    fma = builder.module.globals.get(name)
    if fma is None:
        fma = ir.Function(builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
    return builder.call(fma, [a, b, c])


def _everywhere(builder, number, vector):
    undefined = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(undefined, number, _INT32(0))
    first = ir.Constant(ir.VectorType(_INT32, vector.count), None)
    return builder.shuffle_vector(single, undefined, first)


def _index(builder, number):
    return number if number.type == _INT64 else builder.sext(number, _INT64)


@intrinsic
def _prefetch(typingctx, array, at):
    """Ask for the numbers from ``array[at]`` on, which may lie behind the end: nothing is read.

    A tile leaves and enters each row after some weights. Processors foresee long runs alone, and
    would wait for the memory at each entry.
    """

    def codegen(context, builder, signature, arguments):
        byte = ir.IntType(8).as_pointer()
        start = builder.bitcast(_address(context, builder, signature.args[0], *arguments), byte)
        name = "llvm.prefetch.p0i8"
        ask = builder.module.globals.get(name)
        if ask is None:
            kind = ir.FunctionType(ir.VoidType(), [byte, _INT32, _INT32, _INT32])
            ask = ir.Function(builder.module, kind, name)
        to_read, to_keep, data = _INT32(0), _INT32(3), _INT32(1)
        for line in range(_LINES):
            builder.call(ask, [builder.gep(start, [_INT64(64 * line)]), to_read, to_keep, data])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def _sum_row(
    typingctx, values, order, ordered, columns, first, last, limit, x, x_at, y, y_at, fresh, lanes
):
    """``y[y_at + l]`` += sum of ``values[k] * x[x_at + columns[k], l]``; from zero if `fresh`.

    Over `first` <= k < `last` while columns are below the limit; gives the k at which it stopped.
    If `ordered`, the values are those at ``order[k]``.
    """

    def codegen(context, builder, signature, arguments):
        kinds = signature.args
        values, order, ordered, columns, first, last, limit, x, x_at, y, y_at, fresh, _ = arguments
        element, count = context.get_value_type(kinds[7].dtype), kinds[12].count
        vector, align = ir.VectorType(element, count), context.get_abi_sizeof(element)
        target = _address(context, builder, kinds[9], y, y_at)
        zero = ir.Constant(vector, None)
        begin = builder.select(fresh, zero, _load(builder, target, vector, align))
        before = builder.block
        names = ("ask", "look", "term", "done")
        ask, look, term, done = (builder.append_basic_block(name) for name in names)
        builder.branch(ask)
        builder.position_at_end(ask)
        k, total = builder.phi(_INT64), builder.phi(vector)
        builder.cbranch(builder.icmp_signed("<", k, last), look, done)
        builder.position_at_end(look)
        column = _index(builder, builder.load(_address(context, builder, kinds[3], columns, k)))
        builder.cbranch(builder.icmp_signed("<", column, limit), term, done)
        builder.position_at_end(term)
        start = builder.add(x_at, builder.mul(column, _INT64(count)))
        inputs = _load(builder, _address(context, builder, kinds[7], x, start), vector, align)
        place = _index(builder, builder.load(_address(context, builder, kinds[1], order, k)))
        place = builder.select(ordered, place, k)
        value = builder.load(_address(context, builder, kinds[0], values, place))
        product = _fma(builder, _everywhere(builder, value, vector), inputs, total)
        for phi, start, following in (
            (k, first, builder.add(k, _INT64(1))),
            (total, begin, product),
        ):
            phi.add_incoming(start, before)
            phi.add_incoming(following, term)
        builder.branch(ask)
        builder.position_at_end(done)
        _store(builder, total, target, align)
        return k

    at = types.int64
    yes = types.boolean
    given = (values, order, yes, columns, at, at, at, x, at, y, at, yes, lanes)
    return types.int64(*given), codegen


@intrinsic
def _add_dots(typingctx, g, g_at, columns, first, last, x, x_at, out, out_at, fresh, lanes):
    """``out[out_at + t]`` += the product of ``g[g_at]`` and ``x[x_at + columns[first + t]]``, t < 8.

    From zero if `fresh`. Where there are fewer than eight before `last`, the rest repeat the last one.
    """

    def codegen(context, builder, signature, arguments):
        kinds = signature.args
        g, g_at, columns, first, last, x, x_at, out, out_at, fresh, _ = arguments
        element, count = context.get_value_type(kinds[5].dtype), kinds[10].count
        vector, align = ir.VectorType(element, _DOTS), context.get_abi_sizeof(element)
        end = builder.sub(last, _INT64(1))
        starts = []
        for t in range(_DOTS):
            k = builder.add(first, _INT64(t))
            k = builder.select(builder.icmp_signed("<", k, end), k, end)
            column = _index(builder, builder.load(_address(context, builder, kinds[2], columns, k)))
            starts.append(builder.add(x_at, builder.mul(column, _INT64(count))))
        zero = ir.Constant(vector, None)
        sums = [zero] * _DOTS
        for lane in range(0, count, _DOTS):
            here = _INT64(lane)
            left = _address(context, builder, kinds[0], g, builder.add(g_at, here))
            left = _load(builder, left, vector, align)
            for t, start in enumerate(starts):
                right = _address(context, builder, kinds[5], x, builder.add(start, here))
                sums[t] = _fma(builder, left, _load(builder, right, vector, align), sums[t])
        halves = [
            ir.Constant(ir.VectorType(_INT32, _DOTS), list(range(odd, 2 * _DOTS, 2)))
            for odd in (0, 1)
        ]
        while len(sums) > 1:  # neighbours are added and packed: 8 vectors to 4, 2, 1
            sums = [
                builder.fadd(*(builder.shuffle_vector(a, b, half) for half in halves))
                for a, b in zip(sums[::2], sums[1::2], strict=True)
            ]
        place = _address(context, builder, kinds[7], out, out_at)
        before = builder.select(fresh, zero, _load(builder, place, vector, align))
        _store(builder, builder.fadd(before, sums[0]), place, align)
        return context.get_dummy_value()

    at = types.int64
    return types.void(g, at, columns, at, at, x, at, out, at, types.boolean, lanes), codegen


@kernel
def multiply_rows(
    values, order, ordered, columns, starts, x, y, panels, size, rows, tile, first, last, lanes
):
    """Rows `first` to `last` of W·x for all panels, `tile` columns at a time.

    The weights are ``values[order]`` if `ordered`. The order is an array in any case, so that one
    compiled form serves both.
    """
    widest_vectors()
    wide = len(lanes)
    reached = np.empty(last - first, np.int64)
    for panel in range(panels):
        x_at = panel * size * wide
        for row in range(first, last):
            reached[row - first] = starts[row]
        for left in range(0, size, tile):
            limit, fresh = left + tile, left == 0
            for row in range(first, last):
                ahead = reached[min(row + _AHEAD, last - 1) - first]
                _prefetch(columns, ahead)
                if ordered:
                    _prefetch(order, ahead)
                else:
                    _prefetch(values, ahead)
                y_at = (panel * rows + row) * wide
                k, stop = reached[row - first], np.int64(starts[row + 1])
                reached[row - first] = _sum_row(
                    values, order, ordered, columns, k, stop, limit, x, x_at, y, y_at, fresh, lanes
                )


@kernel
def correlate_rows(g, x, columns, starts, out, panels, size, rows, first, last, lanes):
    """What each kept weight of rows `first` to `last` contributes: g·x summed over examples."""
    widest_vectors()
    wide = len(lanes)
    few = np.empty(_DOTS, out.dtype)
    for panel in range(panels):
        fresh = panel == 0
        x_at = panel * size * wide
        for row in range(first, last):
            g_at = (panel * rows + row) * wide
            k, stop = np.int64(starts[row]), np.int64(starts[row + 1])
            while k + _DOTS <= stop:
                _add_dots(g, g_at, columns, k, stop, x, x_at, out, k, fresh, lanes)
                k += _DOTS
            if k < stop:
                _add_dots(g, g_at, columns, k, stop, x, x_at, few, np.int64(0), True, lanes)
                for t in range(stop - k):
                    out[k + t] = few[t] if fresh else out[k + t] + few[t]


@intrinsic
def _add_eights(typingctx, values, columns, first, eights, x):
    """The sum of ``values[k] * x[columns[k]]`` over `eights` runs of eight from k = `first` on.

    What limits this is how many loads a processor begins in a cycle. Values are loaded by vectors,
    columns some at once and taken apart by shifts, inputs one by one into the lanes of a vector (the
    instruction that gathers them is slower). Two vectors have their own sums, so that none waits.
    """

    def codegen(context, builder, signature, arguments):
        kinds = signature.args
        values, columns, first, eights, x = arguments
        element, number = (context.get_value_type(kinds[i].dtype) for i in (4, 1))
        align = context.get_abi_sizeof(element)
        count = 16 // align  # inserting goes by halves of a wider vector, which are then joined
        vector, together = ir.VectorType(element, count), 64 // number.width
        before = builder.block
        ask, term, done = (builder.append_basic_block(name) for name in ("ask", "term", "done"))
        builder.branch(ask)
        builder.position_at_end(ask)
        run = builder.phi(_INT64)
        sums = [builder.phi(vector) for _ in range(_DOTS // count)]
        builder.cbranch(builder.icmp_signed("<", run, eights), term, done)
        builder.position_at_end(term)
        k = builder.add(first, builder.mul(run, _INT64(_DOTS)))
        inputs = [ir.Constant(vector, ir.Undefined)] * len(sums)
        for t in range(_DOTS):
            if t % together == 0:
                at = _address(context, builder, kinds[1], columns, builder.add(k, _INT64(t)))
                packed = _load(builder, at, _INT64, number.width // 8)
            shift = _INT64(number.width * (t % together))
            column = builder.and_(builder.lshr(packed, shift), _INT64(2**number.width - 1))
            one = builder.load(_address(context, builder, kinds[4], x, column))
            n, lane = divmod(t, count)
            inputs[n] = builder.insert_element(inputs[n], one, _INT32(lane))
        run.add_incoming(_INT64(0), before)
        run.add_incoming(builder.add(run, _INT64(1)), term)
        for n, total in enumerate(sums):
            at = builder.add(k, _INT64(n * count))
            kept = _load(builder, _address(context, builder, kinds[0], values, at), vector, align)
            total.add_incoming(ir.Constant(vector, None), before)
            total.add_incoming(_fma(builder, kept, inputs[n], total), term)
        builder.branch(ask)
        builder.position_at_end(done)
        lanes = [builder.extract_element(v, _INT32(n)) for n in range(count) for v in sums]
        while len(lanes) > 1:
            lanes = [builder.fadd(a, b) for a, b in zip(lanes[::2], lanes[1::2], strict=True)]
        return lanes[0]

    return x.dtype(values, columns, types.int64, types.int64, x), codegen


@kernel
def multiply_one(values, columns, starts, x, y, first, last):
    """Rows `first` to `last` of W·x for one example."""
    for row in range(first, last):
        k, stop = np.int64(starts[row]), np.int64(starts[row + 1])
        eights = (stop - k) // _DOTS
        total = _add_eights(values, columns, k, eights, x)
        for rest in range(k + eights * _DOTS, stop):
            total += values[rest] * x[columns[rest]]
        y[row] = total


@kernel
def pack_rows(x, out, panel, first, last):
    """Features `first` to `last` of a panel, of a batch (examples, features); none is zero."""
    examples, wide = len(x), out.shape[2]
    side = 16  # squares of numbers that stay in the cache while they are turned
    for left in range(first, last, side):
        right = min(left + side, last)
        for lane in range(wide):
            example = panel * wide + lane
            if example < examples:
                for j in range(left, right):
                    out[panel, j, lane] = x[example, j]
            else:
                for j in range(left, right):
                    out[panel, j, lane] = 0


@kernel
def unpack_rows(x, out, panel, first, last):
    """The reverse of `pack_rows`."""
    examples, wide = len(out), x.shape[2]
    side = 16
    for left in range(first, last, side):
        right = min(left + side, last)
        for lane in range(min(wide, examples - panel * wide)):
            example = panel * wide + lane
            for j in range(left, right):
                out[example, j] = x[panel, j, lane]
