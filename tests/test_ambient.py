"""torch's defaults, as a user may have set them, change nothing of what a verb makes."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import isoinit
from isoinit.errors import ArgumentError


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


class OwnFunctions(TorchFunctionMode):
    """A mode of the user's, such as a log."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class OwnDispatch(TorchDispatchMode):
    """Another one, such as a counter of operations."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


# Of the meta device no value can be read, so that what is made there by mistake is noticed.
SETTINGS = {
    "device": lambda: torch.device("meta"),
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "float16": lambda: default_dtype(torch.float16),
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "fake": FakeTensorMode,
    "unseen": torch._C.DisableTorchFunction,
    "own function mode": OwnFunctions,
    "own dispatch mode": OwnDispatch,
    "deterministic": deterministic,
    "numpy raises": lambda: np.errstate(all="raise"),
}
if torch.cuda.is_available():
    SETTINGS["cuda"] = lambda: torch.device("cuda")


def convnet():
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.GELU()
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 8 * 8, 10))


def recurrent():
    return nn.LSTM(6, 16, batch_first=True)


def picture(shape=(4, 3, 12, 12)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def values(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(found, expected):
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("build", [convnet, recurrent])
def test_a_plan_is_the_same(setting, build):
    model, batch = build(), picture() if build is convnet else picture((4, 5, 6))
    expected = isoinit.plan(model, batch).calibrate(model, batch)
    expected.apply(model, seed=1)
    filled, digest, said = (
        values(model),
        isoinit.fingerprint(model),
        isoinit.check(model, batch).findings,
    )
    model = build()
    with SETTINGS[setting]():
        plan = isoinit.plan(model, batch).calibrate(model, batch)
        plan.apply(model, seed=1)
        assert plan.to_json() == expected.to_json()
        assert isoinit.fingerprint(model) == digest
        assert isoinit.check(model, batch).findings == said
    same(values(model), filled)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_check_counts_the_same(setting):
    model, batch, wrong = convnet(), picture(), torch.zeros(4, dtype=torch.long)
    with torch.no_grad():
        model[0].weight.copy_(model[0].weight[:1].clone())  # equal filters
        model[3].weight.mul_(100)
    pair, loss = (batch, wrong), nn.CrossEntropyLoss()
    expected = isoinit.check(model, pair, loss=loss)
    assert expected.findings
    with SETTINGS[setting]():
        assert str(isoinit.check(model, pair, loss=loss)) == str(expected)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "convert",
    [
        lambda model: isoinit.sparse.convert(model, density=0.2, seed=3),
        lambda model: isoinit.variational.convert(model, seed=3),
    ],
    ids=["sparse", "variational"],
)
def test_a_converted_model_is_the_same(setting, convert):
    expected = convert(convnet())
    model = convnet()
    with SETTINGS[setting]():
        found = convert(model)
    same(found.state_dict(), expected.state_dict())
    for converted in (found, expected):
        torch.manual_seed(0)
        converted.output = converted(picture())
    assert torch.equal(found.output, expected.output)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_checkpoint_is_the_same(setting, tmp_path):
    model = nn.Sequential(nn.Linear(8, 8), nn.utils.parametrizations.orthogonal(nn.Linear(8, 8)))
    plan = isoinit.plan(model)
    isoinit.write_checkpoint(plan, model, tmp_path / "expected", seed=3)
    with SETTINGS[setting]():
        isoinit.write_checkpoint(plan, model, tmp_path / "found", seed=3)
        assert isoinit.verify_checkpoint(tmp_path / "found", plan).ok
    found, expected = (tmp_path / name / "model.safetensors" for name in ("found", "expected"))
    assert found.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("setting", ["no gradients", "inference"])
def test_a_comparison_trains(setting):
    def found():
        return isoinit.compare(convnet, picture(), ["plan", "zero"], steps=3, seeds=[0])

    expected = [run.losses for method in ("plan", "zero") for run in found()[method].runs]
    with SETTINGS[setting]():
        made = found()
    assert [run.losses for method in ("plan", "zero") for run in made[method].runs] == expected


def test_a_model_that_is_built_in_inference_mode_is_refused():
    with torch.inference_mode():
        model = convnet()
    for verb in (isoinit.plan, isoinit.init, isoinit.check):
        with pytest.raises(
            ArgumentError, match=r"'0\.weight' was made inside torch.inference_mode"
        ):
            verb(model, picture())
