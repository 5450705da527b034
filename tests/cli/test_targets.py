"""What the command line is pointed at."""

import math
import sys

import pytest
import torch
from torch import nn

from isoinit.cli.targets import call_target, load_target
from isoinit.errors import ArgumentError


def mean(output):
    return output.mean()


@pytest.mark.parametrize(
    ("made", "batch", "loss"),
    [
        (nn.Linear(2, 2), None, None),
        ((nn.Linear(2, 2), "batch"), "batch", None),
        ((nn.Linear(2, 2), "batch", mean), "batch", mean),
    ],
    ids=["a model", "with a batch", "with a loss"],
)
def test_what_a_function_may_return(made, batch, loss):
    loaded = call_target(lambda: made, "m:f")
    assert isinstance(loaded.model, nn.Linear)
    assert loaded[1:] == (batch, loss)


def test_targets_go_to_the_loss_and_inputs_to_the_model():
    x, y = torch.zeros(3, 2), torch.tensor([0, 1, 1])
    made = nn.Linear(2, 2), (x, y), nn.CrossEntropyLoss()
    loaded = call_target(lambda: made, "m:f")
    assert loaded.batch is x
    assert loaded.loss(torch.zeros(3, 2)).item() == pytest.approx(math.log(2))


def test_what_a_function_takes():
    assert call_target(lambda width: nn.Linear(2, width), "m:f", None, 5).model.out_features == 5
    with pytest.raises(ArgumentError, match=r"calling f\(5\) failed.*takes only a width"):
        call_target(lambda: nn.Linear(2, 2), "m:f", None, 5)
    with pytest.raises(ArgumentError, match=r"calling f\(\) failed.*without arguments"):
        call_target(lambda width: nn.Linear(2, 2), "m:f")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (3, "returned a int"),
        ((nn.Linear(2, 2),), "returned a tuple"),
        ((nn.Linear(2, 2), None, None, None), "returned a tuple"),
        ((nn.Linear(2, 2), None, "mse"), "returned a str as its loss"),
        ((nn.Linear(2, 2), torch.zeros(3, 2), nn.MSELoss()), "TARGET 'm:f'.*without targets"),
    ],
    ids=["a number", "one in a tuple", "four", "a loss that is a word", "no targets"],
)
def test_what_is_refused(made, said):
    with pytest.raises(ArgumentError, match=said):
        call_target(lambda: made, "m:f")


def test_the_seed_governs_what_the_function_draws(tmp_path):
    (tmp_path / "drawn.py").write_text(
        "import torch\ndef build(): return torch.nn.Linear(2, 2), torch.randn(3, 2)\n"
    )
    target = f"{tmp_path}/drawn.py:build"
    first, again, other = (load_target(target, seed) for seed in (1, 1, 2))
    assert torch.equal(first.batch, again.batch)
    assert torch.equal(first.model.weight, again.model.weight)
    assert not torch.equal(first.batch, other.batch)


def test_windows_paths_have_colons_and_any_case(tmp_path, monkeypatch):
    """The function stands behind the last colon; without it, the only one is that of the drive."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for name in ("C:\\models\\net.py", "NET.PY"):
        (tmp_path / name).write_text(
            "from torch import nn\ndef build():\n    return nn.Linear(2, 2)\n"
        )
        assert isinstance(load_target(f"{name}:build").model, nn.Linear)
    for target in ("C:\\models\\net.py", "C:/models/net.py"):
        with pytest.raises(ArgumentError, match=r"expected package.module:function or path"):
            load_target(target)
