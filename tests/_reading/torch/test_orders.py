"""Along which axes a call changes the order of a tensor's elements."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from isoinit._reading.torch.orders import reordered

SHAPE = (4, 5, 6)
PLACES = torch.tensor([2, 0, 1, 4, 3])
CALLS = {
    "flip": (torch.Tensor.flip, "flip", (1,), {}),
    "flip of two": (torch.Tensor.flip, "flip", (0, -1), {}),
    "flip by name": (torch.flip, "flip", (), {"dims": (-2,)}),
    "roll": (torch.roll, "roll", (1, -1), {}),
    "roll of two": (torch.roll, "roll", ((1, 2), (0, 2)), {}),
    "roll by name": (torch.roll, "roll", (2,), {"dims": 1}),
    "roll of all": (torch.roll, "roll", (7,), {}),
    "roll by nothing": (torch.roll, "roll", ((0, 0), (1, 2)), {}),
    "roll of numbers and axes by name": (torch.roll, "roll", (), {"shifts": (3,), "dims": (0,)}),
    "shift": (F.pad, "pad", ((0, 0, 1, -1),), {}),
    "shift of two": (F.pad, "pad", ((-1, 1, 0, 0, 2, -2),), {}),
    "padding of nothing": (F.pad, "pad", ((0, 0),), {}),
    "index_select": (torch.index_select, "index_select", (1, PLACES), {}),
    "rows": (torch.Tensor.__getitem__, "getitem", (PLACES[:4].argsort(),), {}),
    "rows of another axis": (
        torch.Tensor.__getitem__,
        "getitem",
        ((slice(None), PLACES),),
        {},
    ),
    "the last axis": (
        torch.Tensor.__getitem__,
        "getitem",
        ((..., [5, 4, 3, 2, 1, 0]),),
        {},
    ),
    "a mask": (torch.Tensor.__getitem__, "getitem", (torch.ones(4, dtype=torch.bool),), {}),
    "all": (torch.Tensor.__getitem__, "getitem", ((slice(None), ...),), {}),
    "another": (torch.clone, "clone", (), {}),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_axes_are_those_whose_coordinates_change(call):
    function, name, args, kwargs = CALLS[call]
    coordinates = torch.meshgrid(*(torch.arange(1.0, n + 1) for n in SHAPE), indexing="ij")
    pairs = [(one, function(one, *args, **kwargs)) for one in coordinates]
    stays = [(one == made) | (made == 0) for one, made in pairs]  # zeros are padding's
    assert set(reordered(name, (torch.empty(SHAPE), *args), kwargs)) == {
        axis for axis, same in enumerate(stays) if not same.all()
    }
