"""A draw and its derivatives, against the formula written out."""

import torch
from torch import nn

from isoinit.variational import convert
from isoinit.variational.gaussian import _Draw


def made():
    parts = torch.randn(3, 4, 3, dtype=torch.float64)
    return [part.clone().requires_grad_(k < 2) for k, part in enumerate(parts)]


def test_derivatives_of_first_and_second_order():
    mean, log_std, noise = made()

    def drawn(mean, log_std):
        return _Draw.apply(mean, log_std, noise)

    assert torch.autograd.gradcheck(drawn, (mean, log_std), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(drawn, (mean, log_std))


def test_values_and_gradients_are_those_of_the_formula():
    mean, log_std, noise = made()
    value, deviation = _Draw.apply(mean, log_std, noise)
    expected = mean + log_std.exp() * noise
    assert torch.equal(deviation, log_std.exp() * noise)
    torch.testing.assert_close(value, expected)
    weights = torch.randn_like(value)
    found = torch.autograd.grad((value * weights).sum(), (mean, log_std))
    wanted = torch.autograd.grad((expected * weights).sum(), (mean, log_std))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_vmap_over_any_of_its_parts():
    mean, log_std, noise = (part.detach() for part in made())
    for axes in ((0, None, None), (None, 0, None), (None, None, 0), (0, 0, 0)):
        args = [
            part.expand(2, *part.shape) if axis == 0 else part
            for part, axis in zip((mean, log_std, noise), axes, strict=True)
        ]
        found = torch.vmap(_Draw.apply, in_dims=axes)(*args)[0]
        torch.testing.assert_close(found[1], mean + log_std.exp() * noise)


def test_printing_a_model_says_what_is_a_distribution():
    assert "GaussianWeight(\n" in repr(convert(nn.Linear(4, 2), seed=0))
    assert "weight, (2, 4), noise='common'" in repr(convert(nn.Linear(4, 2), seed=0))
