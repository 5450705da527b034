"""Tensors in the containers that people pass and models return."""

from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from transformers import BatchEncoding
from transformers.modeling_outputs import BaseModelOutput

from isoinit._reading.torch.trees import map_tensors, tensors_in

Pair = namedtuple("Pair", ["left", "right"])


@dataclass
class Output:
    logits: torch.Tensor
    more: list = field(default_factory=list)


A, B, C = torch.zeros(1), torch.ones(2), torch.ones(3)


def same(found, expected):
    found = list(found)
    return len(found) == len(expected) and all(map(lambda a, b: a is b, found, expected))


def test_tensors_are_found_in_order():
    assert same(tensors_in(A), [A])
    assert same(tensors_in([A, (B, 3, None), "text", [C]]), [A, B, C])
    assert same(tensors_in({"b": B, "a": {"c": C}}), [B, C])
    assert same(tensors_in(Pair(A, [B])), [A, B])
    assert same(tensors_in(OrderedDict(a=A)), [A])
    assert same(tensors_in(Output(A, [B, {"c": C}])), [A, B, C])
    assert same(tensors_in(BaseModelOutput(last_hidden_state=A, hidden_states=(B, C))), [A, B, C])
    assert same(tensors_in(BatchEncoding({"input_ids": A, "mask": B})), [A, B])
    assert same(tensors_in([Output, 3, "text"]), [])  # a class is no container


def test_a_tree_keeps_its_form():
    found = map_tensors(len, [A, (B, 3), Pair(C, "text"), {"a": A}, torch.Size([4])])
    assert found == [1, (2, 3), Pair(3, "text"), {"a": 1}, torch.Size([4])]
    assert type(found[2]) is Pair
    assert type(found[4]) is torch.Size


def test_other_mappings_are_opened_where_that_is_asked():
    encoding = BatchEncoding({"input_ids": A})
    assert map_tensors(len, [encoding])[0] is encoding
    assert map_tensors(len, [encoding], opened=Mapping) == [{"input_ids": 1}]
    assert map_tensors(len, UserDict(a=Pair(B, C)), opened=Mapping) == {"a": (2, 3)}
    assert map_tensors(len, BaseModelOutput(last_hidden_state=B)) == {"last_hidden_state": 2}
