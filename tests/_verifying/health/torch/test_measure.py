"""The sizes of gradients, in double, against NumPy's."""

import numpy as np
import pytest
import torch

from isoinit._verifying.health.torch.measure import _Norm

SHAPES = [(70, 33), (7,), (), (0, 3), (70, 33), (4, 3, 5, 5), (300, 70)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_norms_of_one_tensor_after_another(dtype):
    norm, generator = _Norm(), torch.Generator().manual_seed(0)
    for shape in SHAPES:
        values = torch.randn(shape, generator=generator).to(dtype)
        for same in (values, values.movedim(0, -1) if shape else values):
            exact = np.linalg.norm(same.double().numpy().ravel())
            assert norm.of(same) == pytest.approx(exact, rel=1e-13)


def test_norms_beyond_the_range_of_the_type():
    assert _Norm().of(torch.full((4,), 3e38)) == pytest.approx(2 * float(np.float32(3e38)))
    assert _Norm().of(torch.full((4,), 1e-45)) == pytest.approx(2 * float(np.float32(1e-45)))
    assert _Norm().of(torch.tensor([1.0, torch.inf])) == torch.inf
