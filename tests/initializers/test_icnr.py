"""Kernels that start equal before a pixel shuffle."""

import numpy as np
import pytest
import torch
from torch import nn

from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers import ICNR, Constant, HeNormal, Normal
from isoinit.initializers.scale import fans


@pytest.mark.parametrize("factor", [2, 3])
def test_the_pixels_of_a_channel_start_equal(factor):
    convolution = nn.Conv2d(4, 5 * factor**2, 3, bias=False)
    layout = fans.conv(tuple(convolution.weight.shape))
    weight = ICNR(factor**2).draw(Stream(0, "w"), layout)
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(weight))
        image = nn.PixelShuffle(factor)(convolution(torch.randn(2, 4, 9, 9)))
    tiles = image.unfold(2, factor, factor).unfold(3, factor, factor)
    torch.testing.assert_close(tiles, tiles[..., :1, :1].expand_as(tiles))
    assert image.std() > 0.5


def test_the_scale_is_that_of_the_base():
    layout = fans.conv((64, 32, 3, 3))
    assert ICNR(4, HeNormal()).std_for(layout) == HeNormal().std_for(layout)
    drawn = ICNR(4, Normal(std=0.1)).draw(Stream(0, "w"), layout)
    # 4,608 independent values: five standard errors of their spread are 5 %
    assert np.std(drawn) == pytest.approx(0.1, rel=0.05)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ArgumentError, match="divisible by 4"):
        ICNR(4).std_for(fans.conv((10, 3, 3, 3)))
    with pytest.raises(ArgumentError, match="pixels"):
        ICNR(0)
    with pytest.raises(ArgumentError, match="base"):
        ICNR(4, Constant(1.0))
