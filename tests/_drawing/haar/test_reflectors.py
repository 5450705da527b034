"""The definition against reflectors multiplied one by one, and the order of its sums."""

import math

import numpy as np
import pytest

from isoinit._drawing.haar import reflectors

TOLERANCES = [(np.float32, 1e-6), (np.float64, 1e-14)]


def one_by_one(vectors):
    """H₁…H_k·D in float64, each reflector a matrix of its own (Golub & Van Loan 2013, 5.1.2)."""
    k, n = vectors.shape
    product, signs = np.eye(n), []
    for j, vector in enumerate(vectors.astype(np.float64)):
        v = np.concatenate([np.zeros(j), vector[j:]])
        signs.append(-1.0 if v[j] < 0 else 1.0)
        v[j] += signs[-1] * np.linalg.norm(v)
        product = product @ (np.eye(n) - 2 * np.outer(v, v) / (v @ v))
    return product[:, :k] * -np.array(signs)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 9), (16, 16), (17, 30), (33, 33), (90, 100)])
def test_the_product_of_reflectors(k, n, dtype, tolerance):
    normals = np.random.default_rng(k).standard_normal((2, k, n)).astype(np.float32)
    tall, wide = np.empty((2, n, k), dtype), np.empty((2, k, n), dtype)
    reflectors.multiply_out(normals, tall, 1.0)
    reflectors.multiply_out(normals, wide, 0.5)
    if k < n:
        np.testing.assert_array_equal(wide, 0.5 * tall.swapaxes(1, 2))
    for vectors, matrix in zip(normals, tall, strict=True):
        np.testing.assert_allclose(matrix, one_by_one(vectors), atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_a_tiny_leading_element_costs_no_digits(dtype, tolerance):
    """A reflector adds |v| to its leading element with that one's sign: no cancellation."""
    vectors = np.random.default_rng(0).standard_normal((1, 8, 8)).astype(np.float32)
    leading = [1e-38, -1e-38, 0.0, -0.0, 1e-8, -1e-8, 1.0, -1.0]
    vectors[0, np.arange(8), np.arange(8)] = leading
    matrix = np.empty((1, 8, 8), dtype)
    reflectors.multiply_out(vectors, matrix, 1.0)
    np.testing.assert_allclose(matrix[0].T @ matrix[0], np.eye(8), atol=tolerance)


def test_a_product_sums_runs_of_64_by_fused_multiply_adds():
    """Against a sum in exact rational arithmetic, rounded after each step."""
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(150).astype(np.float32) for _ in range(2))
    expected = np.float32(2.5)
    for run in (range(10, 64), range(64, 128), range(128, 150)):
        total = np.float32(0)
        for t in run:
            total = nearest(float(a[t]) * float(b[t]), float(total))
        expected = np.float32(expected + total)
    out = np.full((1, 1, 1), 2.5, np.float32)
    reflectors._add_product(out, a.reshape(1, 1, -1), b.reshape(1, -1, 1), 10, 150)
    assert out.item() == expected


def nearest(product, term):
    """The float32 nearest to the sum of two float64, which longdouble may not hold either."""
    total = math.fsum([product, term])
    candidate = np.float32(total)
    around = [np.nextafter(candidate, np.float32(side)) for side in (-np.inf, np.inf)]
    exact = lambda x: abs(math.fsum([product, term, -float(x)]))  # noqa: E731
    return min([candidate, *around], key=exact)


def test_the_inverse_of_a_tile():
    rng = np.random.default_rng(2)
    upper = rng.standard_normal((3, 16, 16)) / 8
    diagonal = 1 + rng.random((3, 16))
    triangles = np.triu(upper, 1) + diagonal[:, :, None] * np.eye(16)
    inverse = reflectors._inverse(upper, diagonal)
    np.testing.assert_allclose(
        inverse @ triangles, np.broadcast_to(np.eye(16), (3, 16, 16)), atol=1e-14
    )
