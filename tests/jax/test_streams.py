"""Numbers made inside `jax.jit` are those of `isoinit.fill_slice`, to the last bit."""

import math
from dataclasses import fields
from itertools import product

import numpy as np
import pytest

import isoinit
from isoinit.errors import ArgumentError
from isoinit.initializers.scale import fans

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from compiled import USUAL  # noqa: E402
from isoinit.jax import philox, streams  # noqa: E402
from isoinit.jax.streams import in_graph, normal, truncated_normal, uniform  # noqa: E402

DTYPES = ("float32", "bfloat16", "float16")


def held(initializer, name, shape, dtype="float32", part=None, seed=0, layout=None):
    """What the processor gives."""
    sizes = shape if part is None else [some.stop - some.start for some in part]
    out = np.empty(sizes, jnp.dtype(dtype))
    return isoinit.fill_slice(out, initializer, name, shape, part or (), seed, layout=layout)


@pytest.fixture(scope="module")
def program():
    return jax.jit(philox.draw, static_argnums=3, compiler_options=USUAL)


@pytest.fixture
def as_usual(monkeypatch, program):
    """The functions compile as in a process without the flags of these tests."""
    monkeypatch.setattr(streams, "_part", program)


def differing(found, expected):
    found = np.asarray(found)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    kind = {2: np.uint16, 4: np.uint32, 8: np.uint64}[found.itemsize]
    return int((found.view(kind) != expected.view(kind)).sum())


LAWS = [
    isoinit.Normal(std=0.02),
    isoinit.Normal(std=0.0),
    isoinit.Normal(1.0, 0.02),
    isoinit.Normal(-3.0, 1.0),
    isoinit.Normal(0.5, 0.0),
    isoinit.Uniform(-0.1, 0.1),
    isoinit.Uniform(1.0, 3.0),
    isoinit.Uniform(-5e4, 1e4),
    isoinit.TruncatedNormal(std=0.02),
    isoinit.TruncatedNormal(1.0, 0.5),
]
TAILS = [
    isoinit.TruncatedNormal(a=-8.0, b=8.0),
    isoinit.TruncatedNormal(a=3.0, b=9.0),
    isoinit.TruncatedNormal(a=-10.8, b=-10.0),  # probabilities of 2**-80
    isoinit.TruncatedNormal(a=0.1, b=0.11),
    isoinit.TruncatedNormal(5.0, 1e-3, -4.0, 4.0),
]
WIDE = [
    isoinit.Normal(-3e3, 7e3),
    *(isoinit.Normal(0.0, 2.0**power) for power in (-70, 120)),
    *(isoinit.Uniform(-(2.0**power), 0.7 * 2.0**power) for power in (-70, 120)),
    isoinit.TruncatedNormal(std=2.0**-90),
]
FUNCTIONS = {"Normal": normal, "Uniform": uniform, "TruncatedNormal": truncated_normal}


def drawn(initializer, *args, **kwargs):
    options = {field.name: getattr(initializer, field.name) for field in fields(initializer)}
    return FUNCTIONS[type(initializer).__name__](*args, **options, **kwargs)


SHORT = [isoinit.Normal(1.0, 0.02), isoinit.Uniform(-0.1, 0.1)]


@pytest.mark.parametrize(
    ("initializer", "dtype"),
    [*product(LAWS, ["float32"]), *product(SHORT, [jnp.bfloat16, np.float16])],
    ids=str,
)
@pytest.mark.usefixtures("as_usual")
def test_distributions(initializer, dtype):
    found = drawn(initializer, "w", (70, 500), dtype, seed=3)
    assert differing(found, held(initializer, "w", (70, 500), dtype, seed=3)) == 0


@pytest.mark.usefixtures("as_usual")
@pytest.mark.parametrize("initializer", TAILS + WIDE, ids=str)
def test_tails_and_sizes_far_from_one(initializer):
    found = drawn(initializer, "w", (70, 500))
    assert differing(found, held(initializer, "w", (70, 500))) == 0


@pytest.mark.usefixtures("as_usual")
def test_half_precision_keeps_its_subnormals():
    """The least normal float16 is 6.1e-5: nearly all of these are smaller."""
    found = normal("w", (70, 500), "float16", std=2e-5)
    assert differing(found, held(isoinit.Normal(0.0, 2e-5), "w", (70, 500), "float16")) == 0


def test_a_million_elements():
    initializer = isoinit.TruncatedNormal(0.5, 0.1, -6.0, 6.0)
    found = drawn(initializer, "w", (1_000_003,))
    assert differing(found, held(initializer, "w", (1_000_003,))) == 0


@pytest.mark.slow  # no index is treated otherwise than those of `test_far_inside`
def test_ten_million_elements():
    found = normal("embedding", (10_000_019,), std=0.02)
    assert differing(found, held(isoinit.Normal(0.0, 0.02), "embedding", (10_000_019,))) == 0


@pytest.mark.parametrize("shape", [(), (1025,), (3, 5, 7, 11), (0, 4)])
def test_shapes(shape):
    assert differing(uniform("w", shape), held(isoinit.Uniform(), "w", shape)) == 0


def test_jit_alone_and_within_a_larger_program():
    expected = held(isoinit.Normal(1.0, 0.02), "w", (64, 96))

    def make():
        return normal("w", (64, 96), mean=1.0, std=0.02)

    assert differing(make(), expected) == 0
    assert differing(jax.jit(make, compiler_options=USUAL)(), expected) == 0
    # What follows is fused with the draw, and must not change it.
    larger = jax.jit(lambda x: (w := make(), 2 * w + x), compiler_options=USUAL)
    value, twice = larger(3.0)
    assert differing(value, expected) == 0
    assert np.allclose(twice, 2 * expected + 3)


def test_vmap_gives_each_the_same():
    several = jax.vmap(lambda x: uniform("w", (5, 7)) + 0 * x)(jnp.zeros(3))
    assert differing(several[2], held(isoinit.Uniform(), "w", (5, 7))) == 0


def test_constants_are_not_folded_at_compilation():
    """Without arguments, a compiler could draw the numbers itself: slowly, and with the same bits."""
    text = jax.jit(lambda: uniform("w", (3000, 1000))).lower().compile(USUAL).as_text()
    assert "iota" in text


def test_names_and_seeds_give_streams_of_their_own():
    """Of 10,000 independent pairs the correlation is within 0.05 but for once in 1.7 million."""
    draws = [normal("a", (10_000,)), normal("b", (10_000,)), normal("a", (10_000,), seed=1)]
    correlations = np.corrcoef(np.stack(draws)) - np.eye(3)
    assert np.abs(correlations).max() < 0.05


@pytest.mark.parametrize("first", [(0, 0), (3, 5), (1000, 0), (1016, 90)])
def test_parts(first):
    shape, sizes = (1024, 96), (8, 6)
    slices = tuple(slice(a, a + n) for a, n in zip(first, sizes, strict=True))
    expected = held(isoinit.Uniform(), "w", shape)[slices]
    assert differing(uniform("w", shape, start=first, sizes=sizes), expected) == 0


def test_where_a_part_begins_may_be_traced():
    jitted = jax.jit(lambda i, j: uniform("w", (1024, 96), start=(i, j), sizes=(8, 6)))
    expected = held(isoinit.Uniform(), "w", (1024, 96))
    for i, j in ((0, 0), (1000, 3), (1016, 90)):
        assert differing(jitted(i, j), expected[i : i + 8, j : j + 6]) == 0


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        ((2**24, 2**20), (2**23 + 1, 1000)),  # counters beyond 2**32
        ((2**32, 2**30), (2**32 - 64, 2**30 - 64)),
        ((2**32,), (2**32 - 64,)),
    ],
)
def test_far_inside(shape, first):
    sizes = (64,) * len(shape)
    slices = tuple(slice(a, a + n) for a, n in zip(first, sizes, strict=True))
    found = uniform("w", shape, start=first, sizes=sizes)
    assert differing(found, held(isoinit.Uniform(), "w", shape, part=slices)) == 0


@pytest.mark.parametrize(
    "initializer",
    [
        isoinit.HeNormal(),
        isoinit.XavierUniform(),
        isoinit.Zeros(),
        isoinit.Constant(0.1),
        isoinit.Constant(-0.0),
        isoinit.Constant(1e-7),
    ],
    ids=str,
)
def test_initializers(initializer):
    layout = fans.contraction((64, 4, 16), in_=[0], out=[1, 2])
    for dtype in DTYPES if initializer.is_fixed else DTYPES[:1]:
        make = in_graph(initializer, layout, "q", 7, dtype)
        expected = held(initializer, "q", layout.shape, dtype, seed=7, layout=layout)
        assert differing(make(), expected) == 0


def test_initializers_within_jit():
    layout = fans.linear((16, 9))
    makes = [in_graph(isoinit.HeNormal(), layout, "w", 0, dtype) for dtype in DTYPES]
    together = jax.jit(lambda: [make() for make in makes], compiler_options=USUAL)
    for dtype, found in zip(DTYPES, together(), strict=True):
        expected = held(isoinit.HeNormal(), "w", (16, 9), dtype, layout=layout)
        assert differing(found, expected) == 0


@pytest.mark.parametrize("padding", [0, 3, -1])
def test_the_row_of_padding_is_zero(padding):
    layout = fans.embedding((10, 33), padding=padding)
    make = in_graph(isoinit.Uniform(1.0, 2.0), layout, "e", 0, "float32")
    expected = held(isoinit.Uniform(1.0, 2.0), "e", (10, 33), layout=layout)
    assert not expected[padding].any()
    assert differing(make(), expected) == 0


def test_what_only_the_processor_can():
    layout = fans.linear((4, 3))
    assert in_graph(isoinit.Orthogonal(), layout, "w", 0, "float32") is None
    assert in_graph(isoinit.Normal(), layout, "w", 0, "complex64") is None
    assert in_graph(isoinit.Normal(std=1e-30), layout, "w", 0, "float32") is None
    assert in_graph(isoinit.Normal(), fans.vector((2**33,)), "w", 0, "float32") is None


def test_one_program_serves_parameters_of_one_shape():
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
    )
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    layout = fans.linear((17, 19))
    for name, b in (("a", 0.1), ("b", 0.2), ("c", 3.0)):
        in_graph(isoinit.Uniform(-1.0, b), layout, name, 5, "float32", sharding=device)()
    assert len(compiled) == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: normal("w", (3,), std=-1.0), "std"),
        (lambda: normal("w", (3,), mean=math.nan), "mean"),
        (lambda: normal("w", (3,), std=1e-30), "subnormal"),
        (lambda: normal("w", (3,), "float16", std=1e5), "float16"),
        (lambda: normal("w", (3,), "int32"), "int32"),
        (lambda: normal("w", (3,), "complex64"), "complex64"),
        (lambda: normal("w", (3,), "float64"), "x64"),
        (lambda: normal("w", (3,), "no type"), "no type"),
        (lambda: normal("w", (3,), seed=1.5), "seed=1.5"),
        (lambda: normal("w", (3,), seed=None), "seed=None"),
        (lambda: normal(3, (3,)), "name=3"),
        (lambda: normal("w", (2**32, 2**31)), "elements"),
        (lambda: normal("w", (2**33,)), "longer"),
        (lambda: normal("w", (-1,)), "below 0"),
        (lambda: normal("w", (2.5,)), "one integer for each axis"),
        (lambda: normal("w", 3), "one integer for each axis"),
        (lambda: normal("w", (4, 3), start=(1,)), "one start and one size for each axis"),
        (lambda: normal("w", (4, 3), start=(2, 0), sizes=(3, 3)), "axis 0"),
        (lambda: normal("w", (4, 3), start=(-1, 0), sizes=(3, 3)), "axis 0"),
        (lambda: normal("w", (4,), start=(0.5,), sizes=(3,)), "start"),
        (lambda: normal("w", (4,), start=(jnp.ones(2),), sizes=(3,)), "start"),
        (lambda: uniform("w", (3,), a=1.0, b=0.0), "a < b"),
        (lambda: truncated_normal("w", (3,), a=2.0, b=-2.0), "a < b"),
        (lambda: jax.jit(lambda s: normal("w", (3,), seed=s))(0), "seed is traced"),
        (lambda: jax.jit(lambda s: normal("w", (3,), std=s))(0.1), "std"),
        (lambda: jax.vmap(lambda s: normal("w", (3,), seed=s))(jnp.arange(3)), "static_argnames"),
        (lambda: in_graph(isoinit.HeNormal(), fans.vector((3,)), "w", 0, "float32"), "vector"),
        (lambda: in_graph(isoinit.Normal(), fans.vector((3,)), "w", 0, "int8"), "int8"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(ArgumentError, match=said):
        call()
