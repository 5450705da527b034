# pyright: basic, reportMissingTypeStubs=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false
# mypy: ignore-errors
# ruff: noqa: ARG001
# Numba has no types, and its signatures are fixed.
"""The numbers of `isoinit._drawing.streams.philox`, with the same bits, compiled by Numba.

A block of 1024 elements takes three passes over buffers that stay in the first-level cache: words,
deviates, values; then it is copied out, past the caches if there is much of it. Each is a plain loop
that LLVM turns into vector instructions: the first works on 64-bit lanes (the products), the others
on 32-bit ones, and together they would vectorise badly. `threads` calls them.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic, overload

from isoinit._drawing.jit import kernel, widest_vectors
from isoinit._drawing.streams import philox
from isoinit._drawing.streams.philox import BLOCK, FIXED, LANE, NORMAL, UNIFORM

# Numba's cache on disk follows the date and size of this file alone, while the constants below come
# from another: so a change of the definition has to change this line too.
if philox.DEFINITION != 1:
    raise ImportError("kernels.py implements another definition than philox.py")

_u32, _u64, _f32, _i32 = np.uint32, np.uint64, np.float32, np.int32

_M0, _M1 = (_u64(m) for m in philox._MULTIPLIERS)
_W0, _W1 = (_u64(w) for w in philox._WEYL)
_MASK = _u64(philox._WORD)
_HALF = _u64(32)

_LOG = tuple(map(_f32, philox.LOG))
_SINE = tuple(map(_f32, philox.SINE))
_CENTRE = tuple(map(_f32, philox.CENTRE))
_TAIL = tuple(map(_f32, philox.TAIL))
_MINUS_TWO_LOG_2 = _f32(philox.MINUS_TWO_LOG_2)
_SQRT_HALF_BITS = _i32(philox.SQRT_HALF_BITS)
_ABOVE_SQRT_HALF = _u32(philox.ABOVE_SQRT_HALF)
_CENTRE_END = _f32(philox.CENTRE_END)
_CENTRE_MIDDLE = _f32(philox.CENTRE_MIDDLE)
_CENTRE_LEAST = _f32(philox.CENTRE_LEAST)
_TAIL_MIDDLE = _f32(philox.TAIL_MIDDLE)
_STREAMED = 2**19
_SIGN = _u32(0x80000000)
_QUARTER = _u32(0x3FFFFFFF)


@intrinsic
def _fma(typingctx, a, b, c):
    """``llvm.fma.f32``: one rounding, whatever the machine."""

    def codegen(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), codegen


@intrinsic
def _bits(typingctx, x):
    """The bits of a float32."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return types.uint32(types.float32), codegen


@intrinsic
def _float(typingctx, bits):
    """The float32 of these bits; wider integers are cut to 32."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return types.float32(types.uint32), codegen


@intrinsic
def _pointer(typingctx, address):
    """The pointer to an address."""

    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(types.uint64), codegen


@intrinsic
def _stream_lines(typingctx, to, start, lines, count):
    """Copy whole lines of 64 bytes past the caches; `start` is a flat index, `to` aligned there."""

    def codegen(context, builder, signature, arguments):
        line, i64 = ir.VectorType(ir.IntType(64), 8), ir.IntType(64)
        target, source = (
            context.make_array(kind)(context, builder, array).data
            for kind, array in ((to, arguments[0]), (lines, arguments[2]))
        )
        target = builder.bitcast(builder.gep(target, [arguments[1]]), line.as_pointer())
        source = builder.bitcast(source, line.as_pointer())
        before = builder.block
        loop, after = builder.append_basic_block("line"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        i = builder.phi(i64)
        value = builder.load(builder.gep(source, [i]))
        value.align = 4
        store = builder.store(value, builder.gep(target, [i]))
        store.align = 64
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        following = builder.add(i, i64(1))
        i.add_incoming(i64(0), before)
        i.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, arguments[3]), loop, after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return types.void(to, types.int64, lines, types.int64), codegen


@intrinsic
def _fence(typingctx):
    """Streamed lines may reach other threads later than what is stored after them; not past this."""

    def codegen(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@njit(inline="always")
def _polynomial(x, coefficients):
    value = coefficients[-1]
    for i in range(len(coefficients) - 2, -1, -1):
        value = _fma(value, x, coefficients[i])
    return value


@njit
def _words(keys, c2, c3, block, words, width):
    widest_vectors()
    base = block * _u64(LANE)
    high = base >> _HALF
    for j in range(width):
        # 64-bit lanes whose upper halves are left dirty: the multiplication reads the lower.
        x0, x1, x2, x3 = base + _u64(j), high, c2, c3
        for turn in range(10):
            p0 = (x0 & _MASK) * _M0
            p1 = (x2 & _MASK) * _M1
            x0, x1 = (p1 >> _HALF) ^ x1 ^ keys[2 * turn], p1
            x2, x3 = (p0 >> _HALF) ^ x3 ^ keys[2 * turn + 1], p0
        words[j] = _u32(x0)
        words[LANE + j] = _u32(x1)
        words[2 * LANE + j] = _u32(x2)
        words[3 * LANE + j] = _u32(x3)


@njit(inline="always")
def _split(x):
    bits = _i32(_bits(x) - _SQRT_HALF_BITS)
    fraction = _float((bits & _i32(0x7FFFFF)) + _SQRT_HALF_BITS)
    return _f32(_i32(bits >> _i32(23))), fraction - _f32(1)


@njit(inline="always")
def _radius(word):
    above = word > _ABOVE_SQRT_HALF
    x = _f32(_u32(~word) if above else word) + _f32(0.5)
    exponent, f = _split(x)
    f = x * _f32(-(2**-32)) if above else f
    exponent = _f32(0) if above else exponent - _f32(32)
    return np.sqrt(_fma(exponent, _MINUS_TWO_LOG_2, f * _polynomial(f, _LOG)))


@njit(inline="always")
def _quarter_sine(word):
    h = _fma(_f32(word), _f32(2**-30), _f32(2**-31))
    return h * _polynomial(h * h, _SINE)


@njit(inline="always")
def _flip(x, sign):
    return _float(_bits(x) ^ (sign & _SIGN))


@njit
def _uniform(words, deviates, stop):
    widest_vectors()
    for i in range(stop):
        deviates[i] = _f32(_u32(words[i] >> _u32(8))) * _f32(2**-24)


@njit
def _normal(words, deviates, pairs):
    widest_vectors()
    for pair in range(pairs):
        for j in range(2 * LANE * pair, 2 * LANE * pair + LANE):
            radius, angle = _radius(words[j]), words[j + LANE]
            quarter = _u32(angle & _QUARTER)
            across = radius * _quarter_sine(_u32(quarter ^ _QUARTER))
            deviates[j] = _flip(across, angle)
            deviates[j + LANE] = _flip(radius * _quarter_sine(quarter), _u32(angle << _u32(1)))


@njit(inline="always")
def _lower_tail(word, below, above, step):
    from_low = _fma(_f32(word), step, below)
    from_high = _fma(_f32(_u32(~word)), step, above)
    lower = from_low < from_high
    s = from_low if lower else from_high
    four = s * _f32(-4)
    exponent, f = _split(_fma(four, s, -four))
    w = _f32(0.5) * _fma(exponent, _MINUS_TWO_LOG_2, f * _polynomial(f, _LOG))
    x = _f32(1) - s - s
    return w, (-x if lower else x)


@njit
def _truncated_centre(words, below, above, step, deviates, stop):
    widest_vectors()
    for i in range(stop):
        w, x = _lower_tail(words[i], below, above, step)
        deviates[i] = _polynomial(w - _CENTRE_MIDDLE, _CENTRE) * x


@njit
def _truncated_whole(words, below, above, step, deviates, stop):
    widest_vectors()
    for i in range(stop):
        w, x = _lower_tail(words[i], below, above, step)
        centre = _polynomial(w - _CENTRE_MIDDLE, _CENTRE)
        root = np.sqrt(w if w > _f32(1) else _f32(1))
        tail = root * _polynomial(_f32(1) / root - _TAIL_MIDDLE, _TAIL)
        deviates[i] = (centre if w <= _CENTRE_END else tail) * x


def _value(out, deviate, scale, shift, low, high):
    """One value in the type of ``out``: overloaded by that type."""
    raise NotImplementedError


@njit(inline="always")
def _value32(deviate, scale, shift, low, high):
    value = _fma(deviate, scale, shift)
    value = value if value > low else low
    return value if value < high else high


@overload(_value, inline="always")
def _value_of(out, deviate, scale, shift, low, high):
    def float32(out, deviate, scale, shift, low, high):
        return _value32(deviate, scale, shift, low, high)

    def bfloat16(out, deviate, scale, shift, low, high):
        bits = _bits(_value32(deviate, scale, shift, low, high))
        odd = _u32(_u32(bits >> _u32(16)) & _u32(1))
        return np.uint16(_u32(_u32(bits + _u32(0x7FFF)) + odd) >> _u32(16))

    def float64(out, deviate, scale, shift, low, high):
        value = np.float64(deviate) * scale + shift
        value = value if value > low else low
        return value if value < high else high

    return {types.float32: float32, types.uint16: bfloat16, types.float64: float64}[out.dtype]


@njit(inline="always")
def _round_keys(k0, k1):
    keys = np.empty(20, _u64)
    for turn in range(10):
        keys[2 * turn] = (k0 + _u64(turn) * _W0) & _MASK
        keys[2 * turn + 1] = (k1 + _u64(turn) * _W1) & _MASK
    return keys


@kernel
def fill_words(k0, k1, c2, c3, out, start):
    """Write the plain words of the elements from `start` on."""
    widest_vectors()
    keys, words = _round_keys(k0, k1), np.empty(BLOCK, _u32)
    done = 0
    while done < out.size:
        element = start + _u64(done)
        first = np.int64(element % _u64(BLOCK))
        count = min(BLOCK - first, out.size - done)
        _words(keys, c2, c3, element // _u64(BLOCK), words, LANE)
        part, here = words[first : first + count], out[done : done + count]
        for i in range(count):
            here[i] = part[i]
        done += count


@kernel
def fill_runs(
    k0, k1, c2, c3, kind, scale, shift, low, high, below, above, step, out, starts, lengths
):
    """Write runs of elements, one behind the other; a block that serves several is made once.

    It makes its blocks itself: a function that did would count references to the buffers at every
    call, and each count is an atomic operation, which waits for what is streamed to reach memory.
    """
    widest_vectors()
    keys, words, deviates = _round_keys(k0, k1), np.empty(BLOCK, _u32), np.empty(BLOCK, _f32)
    values, done, made = np.empty(BLOCK, out.dtype), 0, np.int64(-1)
    # The smaller of the two probabilities that an element can invert is never below these.
    central = min(below, above) > _CENTRE_LEAST
    # What is larger than a cache goes past it, so that memory is not read before it is written.
    large = out.size * out.itemsize > _STREAMED
    for run in range(starts.size):
        at, end = starts[run], starts[run] + lengths[run]
        while at < end:
            block, first = at // BLOCK, at % BLOCK
            count = min(BLOCK - first, end - at)
            if block != made:
                # A small parameter needs only the beginning of its block; in whole vectors.
                last = run + 1 == starts.size
                stop = (first + count + 63) // 64 * 64 if last else np.int64(BLOCK)
                if kind != FIXED:
                    _words(keys, c2, c3, _u64(block), words, min(stop, LANE))
                if kind == FIXED:
                    deviates[:] = _f32(-0.0)
                elif kind == UNIFORM:
                    _uniform(words, deviates, stop)
                elif kind == NORMAL:
                    _normal(words, deviates, 1 if stop <= 2 * LANE else 2)
                elif central:
                    _truncated_centre(words, below, above, step, deviates, stop)
                else:
                    _truncated_whole(words, below, above, step, deviates, stop)
                for i in range(stop):
                    values[i] = _value(out, deviates[i], scale, shift, low, high)
                made = block
            if large and count == BLOCK and (out.ctypes.data + done * out.itemsize) % 64 == 0:
                _stream_lines(out, done, values, BLOCK * out.itemsize // 64)
            else:
                part, here = values[first : first + count], out[done : done + count]
                for i in range(count):
                    here[i] = part[i]
            at += count
            done += count
    _fence()


@kernel
def fill_jobs(keys, addresses, sizes, which, kinds, scaling, chances, like, first, last):
    """Do the jobs `first` to `last`; `like` is an array of their memory's type."""
    start = np.zeros(1, np.int64)
    for i in range(first, last):
        k, s, p, size = keys[i], scaling[which[i]], chances[which[i]], sizes[i : i + 1]
        k0, k1, c2, c3, kind = k[0], k[1], k[2], k[3], kinds[which[i], 0]
        out = carray(_pointer(addresses[i]), size[0], like.dtype)
        fill_runs(k0, k1, c2, c3, kind, s[0], s[1], s[2], s[3], p[0], p[1], p[2], out, start, size)


@kernel
def choose(words, size, chosen):
    """Turn each row of words into different numbers below `size`; `chosen` is all False."""
    rows, count = words.shape
    for row in range(rows):
        for t in range(count):
            last = _u64(size - count + t)
            number = (_u64(words[row, t]) * (last + _u64(1))) >> _HALF
            number = last if chosen[number] else number
            chosen[number] = True
            words[row, t] = number
        for t in range(count):
            chosen[words[row, t]] = False
