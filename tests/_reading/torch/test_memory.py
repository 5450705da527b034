"""Which tensors are one memory, meet in part, or lie apart: as their elements' places say."""

import itertools
import random

import numpy as np
import pytest
import torch
from torch import nn

from isoinit._reading.torch.memory import (
    address_of,
    is_one_memory,
    meetings,
    place_of,
    spans_of,
)
from isoinit._reading.torch.names import named_parameters, names_by_id

BUFFER = torch.zeros(64)


def places(view):
    return (
        torch.arange(64)
        .as_strided(view.shape, view.stride(), view.storage_offset())
        .flatten()
        .tolist()
    )


def views(count):
    rng, found = random.Random(0), []
    while len(found) < count:
        axes = range(rng.randint(0, 3))
        shape, strides = [rng.randint(1, 4) for _ in axes], [rng.randint(0, 9) for _ in axes]
        first = rng.randint(0, 20)
        if first + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) < len(BUFFER):
            found.append(BUFFER.as_strided(shape, strides, first))
    return found


def test_a_view_meets_itself_as_its_elements_do():
    meets = [(spans_of(v)[0].meets_itself, len({*places(v)}) < v.numel()) for v in views(300)]
    assert all(found == expected for found, expected in meets)
    assert 0 < sum(found for found, _ in meets) < len(meets)


def test_two_views_meet_as_their_elements_do():
    for one, other in itertools.combinations(views(60), 2):
        expected = not {*places(one)}.isdisjoint(places(other))
        assert spans_of(one)[0].meets(spans_of(other)[0]) == expected


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_pairs_are_found_among_many(device):
    flat = torch.zeros(3000, device=device)
    parts = {f"{i}": flat[3 * i : 3 * i + 3] for i in range(900)}
    parts |= {"even": flat[2800::2], "odd": flat[2801::2], "over": flat[2698:2702]}
    parts |= {"none": flat[:0], "other": torch.zeros(3000, device=device)}
    assert [*meetings(parts)] == [("899", "over")]
    assert [*meetings(parts, {"0", "even"})] == []


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_one_memory_is_the_same_elements_in_the_same_places(device):
    weight = torch.zeros(4, 4, device=device)
    assert is_one_memory(weight, weight.data)
    assert is_one_memory(weight, nn.Parameter(weight))
    assert place_of(weight) == place_of(nn.Parameter(weight)) != 0
    others = [weight.t(), weight.view(-1), weight[:3], weight.clone(), weight.view(torch.int32)]
    assert not any(is_one_memory(weight, other) for other in others)
    assert not is_one_memory(weight[:0], weight[:0].data)


def test_of_a_wrapper_the_tensors_inside_count():
    from torch.testing._internal.two_tensor import TwoTensor

    left, right = torch.zeros(3), torch.zeros(3)
    both = TwoTensor(left, right)
    assert len(spans_of(both)) == 2
    assert is_one_memory(both, TwoTensor(left, right))
    assert not is_one_memory(both, TwoTensor(right, left))
    assert [*meetings({"both": both, "left": left})] == [("both", "left")]


def test_what_has_no_memory_to_be_seen():
    assert spans_of(nn.LazyLinear(3).weight) == ()
    assert spans_of(torch.eye(3).to_sparse()) == ()
    assert place_of(torch.zeros(0, 5)) == 0


def test_memory_outside_of_torch_is_known_by_its_address():
    array = np.zeros(4, np.float32)
    assert is_one_memory(torch.from_numpy(array), torch.from_numpy(array))


def test_parameters_over_one_memory_are_tied():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight.data = model[0].weight.data
    model[2].weight.data = model[0].weight.data.t()
    parameters, aliases = named_parameters(model)
    assert aliases == {"1.weight": "0.weight"}
    assert "2.weight" in parameters
    assert names_by_id(model)[id(model[1].weight)] == "0.weight"


def test_plain_tensors_have_an_address():
    weight, both = nn.Parameter(torch.zeros(4, 3)), torch.zeros(4, dtype=torch.complex64)
    for plain in (weight, weight.detach()[1:], both, torch.zeros(4, dtype=torch.bfloat16)):
        assert address_of(plain) == plain.data_ptr()
    subclass = torch.zeros(3).as_subclass(type("Mine", (torch.Tensor,), {}))
    others = [weight.T, both.conj(), both.conj().imag[:1], torch.eye(3).to_sparse(), subclass]
    for other in (*others, torch.zeros(3, device="meta")):
        assert address_of(other) is None
