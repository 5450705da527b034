"""How copies are told."""

import pytest
import torch

from isoinit._verifying.copies import copies_found


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        (
            [[f"layers.{i}.{n}.weight" for i in range(4)] for n in "abcd"],
            "layers.0…3 (a.weight, b.weight, c.weight and 1 more)",
        ),
        ([["0.weight", "2.weight"], ["0.bias", "2.bias"]], "0, 2 (weight, bias)"),
        ([[f"m.{i}.w" for i in (0, 2, 4, 6)]], "m.0, m.2, m.4 and 1 more (w)"),
        ([["q1.0.w", "q2.0.w"], ["q1.2.w", "q2.2.w"]], "q1, q2 (0.w, 2.w)"),
        ([["w1", "w2"]], "w1, w2"),
        ([["a.w", "b.w"], ["c.v", "d.v"]], "a, b (w); c, d (v)"),
        ([["a.b.w", "c.w"]], "a.b, c (w)"),
    ],
)
def test_copies_are_told_by_what_holds_them(groups, told):
    (finding,) = copies_found(groups, {n: torch.ones(2, 2) for group in groups for n in group})
    assert finding.sentence.startswith(f"{told}: the same random values")
    assert finding.where == tuple(name for group in groups for name in group)


def test_biases_count_only_where_no_weight_tells_the_layers_apart():
    names = [[f"{layer}.{kind}" for layer in "ab"] for kind in ("weight", "bias")]
    tensors = {n: torch.ones(2, 2) if "weight" in n else torch.ones(2) for g in names for n in g}
    assert list(copies_found(names[1:], tensors)) == []
    assert list(copies_found([], tensors)) == []
    (both,) = copies_found(names, tensors)
    assert both.where == ("a.weight", "b.weight", "a.bias", "b.bias")
    (alone,) = copies_found(names[1:], {n: t for n, t in tensors.items() if t.dim() == 1})
    assert alone.where == ("a.bias", "b.bias")
