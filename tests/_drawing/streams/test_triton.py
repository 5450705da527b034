"""Triton's kernels give the bits of the definition: interpreted on a CPU, and run where a GPU is."""

import importlib.util
import re
import sys

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

import isoinit
from isoinit._drawing.streams import Stream, philox
from isoinit._drawing.streams import laws as laws_
from isoinit._drawing.streams.philox import NORMAL, TRUNCATED, UNIFORM, WORDS, Law
from isoinit._writing import fill
from isoinit._writing.fill import fill_tensor
from isoinit.errors import IsoinitWarning
from isoinit.initializers.scale import fans

pytest.importorskip("triton")

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime import interpreter

# Triton before 3.4 is refused, and then the processor draws.
compiled = pytest.importorskip("isoinit._drawing.streams.triton", exc_type=ImportError)

INF = float("inf")
KEY = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
NORMALS = Law(NORMAL, 1.0, 0.0, -INF, INF)
PLAIN_WORDS = Law(WORDS, 1.0, 0.0, -INF, INF)
DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "uint16": torch.bfloat16,
}
ELEMENTWISE = [
    isoinit.Zeros(),
    isoinit.Ones(),
    isoinit.Constant(0.1),
    isoinit.Uniform(-0.3, 0.7),
    isoinit.Normal(0.1, 0.02),
    isoinit.TruncatedNormal(std=0.02),
    isoinit.TruncatedNormal(a=-6, b=5),
    isoinit.XavierNormal(),
    isoinit.XavierUniform(),
    isoinit.HeNormal(),
    isoinit.HeUniform(),
    isoinit.LeCunNormal(),
    isoinit.LeCunUniform(),
    isoinit.Variational(isoinit.HeNormal()),
]
WHOLE = [
    isoinit.Identity(),
    isoinit.GateBias(),
    isoinit.Orthogonal(),
    isoinit.Sparse(density=0.3),
    isoinit.Variational(isoinit.Orthogonal()),
]


def rounded_once(builder, x, y, z):
    """Triton's interpreter rounds twice in `fma`; a GPU, and the definition, once."""
    assert z.dtype == interpreter.tl.float32
    return interpreter.TensorHandle(philox.fma32(x.data, y.data, z.data), z.dtype)


@pytest.fixture(scope="module")
def kernels():
    """A copy of the module for Triton's interpreter, which is chosen when the kernels are defined."""
    with pytest.MonkeyPatch.context() as patch:
        spec = importlib.util.spec_from_file_location("interpreted", compiled.__file__)
        module = importlib.util.module_from_spec(spec)
        with pytest.MonkeyPatch.context() as defining:
            defining.setenv("TRITON_INTERPRET", "1")
            spec.loader.exec_module(module)
        patch.setattr(interpreter.InterpreterBuilder, "create_fma", rounded_once)
        yield module


@pytest.fixture
def pretended(kernels, monkeypatch):
    """Tensors on the CPU pass for a GPU's and are filled by the interpreter."""
    monkeypatch.setitem(sys.modules, "isoinit._drawing.streams.triton", kernels)
    monkeypatch.setattr("isoinit._drawing.streams.triton", kernels)
    monkeypatch.setattr(fill, "_draws_on", lambda device: True)


def both(backend, law, dtype, start, count, key=KEY, device="cpu"):
    """The bytes that a backend writes, and those of the definition."""
    tensor = torch.zeros(count, dtype={"uint32": torch.uint32, **DTYPES}[dtype], device=device)
    backend.fill(key, law, tensor, start)
    plain = np.zeros(count, dtype)
    philox.fill(key, law, plain, start)
    return tensor.cpu().view(torch.uint8).numpy().tobytes(), plain.tobytes()


@st.composite
def laws(draw, dtype, kind):
    std = draw(st.sampled_from([1.0, 0.02, 1e-3, 1e-40, 7.0]))
    mean = std * draw(st.sampled_from([0.0, 0.1, -3.0]))
    if kind == "normal":
        return Law(NORMAL, std, mean, -INF, INF)
    if kind == "centre":
        a, b = draw(st.floats(-2.9, -0.1)), draw(st.floats(0.1, 2.9))
    else:
        a = draw(st.floats(-9.0, 8.0))
        b = a + draw(st.floats(0.5, 8.0))
    std = max(std, 1e-3)  # values lie between the bounds in every type
    low, high = mean + a * std, mean + b * std
    if kind == "uniform":
        return laws_.uniform(low, high, np.dtype(dtype))
    return laws_.truncated_normal(mean, std, low, high, np.dtype(dtype))


keys = st.tuples(*[st.integers(0, 2**32 - 1)] * 4)
starts = st.integers(0, 5000) | st.integers(2**32 - 900, 2**40) | st.integers(2**40, 2**61)
counts = st.integers(1, 1100)


# The first test: Triton 3.5 compiles no more once its interpreter has run in the process.
@pytest.mark.parametrize("architecture", [80, 100])
@pytest.mark.parametrize("kind", [UNIFORM, NORMAL, TRUNCATED])
def test_compiled_operations_are_rounded_once(architecture, kind, tmp_path, monkeypatch):
    """PTX may fuse a `mul` and an `add` without `.rn`, and flush subnormals in those with `.ftz`."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = compiled._kernel
    types = {p.name: p.annotation_type or "constexpr" for p in kernel.params}
    types |= {"out": "*fp64" if kind == NORMAL else "*fp32", "first": "i32"}
    constants = {"kind": kind, "central": False}
    source = ASTSource(
        kernel, types, {(kernel.arg_names.index(k),): v for k, v in constants.items()}
    )
    target = GPUTarget("cuda", architecture, 32)
    ptx = triton.compile(source, target=target, options=dict(compiled._OPTIONS)).asm["ptx"]
    found = re.findall(r"^\s(?:add|sub|mul|fma|div|sqrt|cvt)\.\S*f(?:32|64)\S*", ptx, re.M)
    operations = {operation.strip() for operation in found}
    assert {"fma.rn.f32", "cvt.rn.f32.u32"} <= operations or architecture == 100  # f32x2
    exact = {"cvt.f64.f32"}
    assert all(".rn." in operation for operation in operations - exact)
    if triton.__version__.startswith("3.5."):
        # It flushes subnormals here: roots are of 2^-32 and more, and what is divided is near one.
        ptx = re.sub(r"(sqrt|div)\.rn\.ftz\.f32", "", ptx)
    assert "ftz" not in ptx
    assert "approx" not in ptx


@pytest.mark.parametrize("kind", ["uniform", "normal", "centre", "truncated"])
@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=10)
@given(data=st.data(), key=keys, start=starts, count=counts)
def test_same_bits_as_the_definition(kernels, kind, dtype, data, key, start, count):
    found, expected = both(kernels, data.draw(laws(dtype, kind)), dtype, start, count, key)
    assert found == expected


@settings(deadline=None, max_examples=30)
@given(key=keys, start=starts, count=counts)
@example(key=KEY, start=2**32 * 4 - 5, count=1200)  # the counter's upper word begins
@example(key=(1, 0, 2**31, 2**32 - 1), start=2**31 * 1024, count=1)
def test_same_words_as_the_definition(kernels, key, start, count):
    found, expected = both(kernels, PLAIN_WORDS, "uint32", start, count, key)
    assert found == expected


def test_only_the_slice_is_written(kernels):
    out = torch.full((3000,), 7.0)
    kernels.fill(KEY, NORMALS, out[700:1900], 5)
    assert (out[:700] == 7).all()
    assert (out[1900:] == 7).all()
    assert not (out[700:1900] == 7).any()
    kernels.fill(KEY, PLAIN_WORDS, out[:0], 5)  # no elements, no launch


def test_the_compiler_is_told_not_to_fuse(monkeypatch):
    passed = {}

    class Kernel:
        def __getitem__(self, grid):
            return lambda *arguments, **options: passed.update(options, grid=grid)

    monkeypatch.setattr(compiled, "_kernel", Kernel())
    compiled.fill(KEY, PLAIN_WORDS, torch.zeros(1049, dtype=torch.uint32), 1024 + 1000)
    assert passed["enable_fp_fusion"] is False
    assert passed["grid"] == (3,)  # 24 elements, a block, and one


@pytest.mark.parametrize(
    ("owner", "name", "value", "message"),
    [(philox, "DEFINITION", 2, "another definition"), (triton, "__version__", "3.3.1", "needs")],
)
def test_another_definition_and_an_old_triton_are_refused(owner, name, value, message, monkeypatch):
    spec = importlib.util.spec_from_file_location("other", compiled.__file__)
    monkeypatch.setattr(owner, name, value)
    with pytest.raises(ImportError, match=message):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize("initializer", [*ELEMENTWISE, *WHOLE], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_elementwise_initializers_fill_in_place(kernels, initializer, dtype, request):
    layout = fans.vector((24,)) if "GateBias" in str(initializer) else fans.linear((20, 30))
    expected = torch.empty(layout.shape, dtype=dtype)
    fill_tensor(expected, initializer, layout, Stream(1, "weight"))
    drawn_there = initializer.law(layout, np.dtype(np.float32)) is not None
    assert drawn_there == (initializer in ELEMENTWISE)
    if drawn_there:
        request.getfixturevalue("pretended")
        parameter = nn.Parameter(torch.empty(layout.shape, dtype=dtype))
        version = parameter._version
        fill_tensor(parameter, initializer, layout, Stream(1, "weight"))
        assert torch.equal(parameter, expected)
        assert parameter._version > version


def test_padding_and_strides_on_a_device(pretended):
    layout = fans.embedding((6, 5), padding=2)
    table = torch.empty(5, 6).T
    fill_tensor(table, isoinit.Normal(), layout, Stream(1, "table"))
    assert not table[2].any()
    expected = np.empty(30, np.float32)
    Stream(1, "table").normal(expected)
    assert np.array_equal(table[3:].numpy().reshape(-1), expected[15:])


def test_constants_are_rounded_as_on_the_host(pretended):
    for dtype in DTYPES.values():
        for value in (0.1, 1 + 2**-9, 1 + 2**-12 + 2**-40, 3e-41, 6e-8, -0.0):
            expected = torch.tensor([value], dtype=torch.float64)
            expected = expected if dtype == torch.float64 else expected.float().to(dtype)
            if value and not expected.any():  # is refused
                continue
            found = torch.empty(1, dtype=dtype)
            fill_tensor(found, isoinit.Constant(value), fans.vector((1,)), Stream(0, "x"))
            assert torch.equal(found.view(torch.uint8), expected.view(torch.uint8))


@pytest.mark.parametrize("error", [None, RuntimeError("no C compiler")])
def test_without_triton_the_processor_draws(error, monkeypatch):
    def empty(*shape, **options):
        raise error

    fill._draws_on.cache_clear()
    if error is None:
        monkeypatch.setitem(sys.modules, "isoinit._drawing.streams.triton", None)
        assert not fill._draws_on(torch.device("cuda:7"))
    else:
        monkeypatch.setattr(torch, "empty", empty)
        with pytest.warns(IsoinitWarning, match="no C compiler"):
            assert not fill._draws_on(torch.device("cuda:7"))
    fill._draws_on.cache_clear()


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@gpu
@pytest.mark.parametrize("kind", ["uniform", "normal", "centre", "truncated", "words"])
@settings(deadline=None, max_examples=200)
@given(data=st.data(), key=keys, start=starts, count=st.integers(1, 100_000))
def test_a_gpu_gives_the_same_bits(kind, data, key, start, count):
    dtype = "uint32" if kind == "words" else data.draw(st.sampled_from(list(DTYPES)))
    law = PLAIN_WORDS if kind == "words" else data.draw(laws(dtype, kind))
    found, expected = both(compiled, law, dtype, start, count, key, "cuda")
    assert found == expected


@gpu
@pytest.mark.parametrize("initializer", [*ELEMENTWISE, *WHOLE], ids=str)
def test_a_plan_gives_a_gpu_the_same_weights(initializer, monkeypatch):
    name = "bias" if "GateBias" in str(initializer) else "weight"
    for dtype in DTYPES.values():
        here, there = (nn.Linear(300, 200, dtype=dtype, device=d) for d in ("cpu", "cuda"))
        plan = isoinit.plan(here)
        plan[name] = initializer
        plan.apply(here, seed=3)
        with monkeypatch.context() as patch:
            if initializer in ELEMENTWISE:  # as is the other parameter's
                patch.setattr(torch.Tensor, "copy_", None)
            plan.apply(there, seed=3)
        for mine, theirs in zip(here.parameters(), there.parameters(), strict=True):
            assert torch.equal(mine, theirs.cpu())


@gpu
def test_more_elements_than_32_bits_count():
    count = 2**32 + 5000
    out = torch.empty(count, dtype=torch.bfloat16, device="cuda")
    compiled.fill(philox.key_words(Stream(1, "weight").key()), NORMALS, out, 2**40 + 7)
    expected = np.empty(6000, np.uint16)
    Stream(1, "weight").normal(expected, start=2**40 + 7 + count - 6000)
    assert np.array_equal(out[-6000:].view(torch.int16).cpu().numpy().view(np.uint16), expected)
