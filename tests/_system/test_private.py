"""Private names of torch that isoinit uses are there and work; where not, they are named."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import isoinit
from isoinit._system import private, probes
from isoinit.errors import PackageError

SOURCE = Path(isoinit.__file__).parent


@pytest.mark.parametrize("name", private.FEATURES)
def test_each_feature_is_there_and_works(name):
    assert private.fault_of(name) == ""


@pytest.mark.parametrize("name", probes.MEMBERS)
def test_each_attribute_is_there(name):
    assert probes.fault_of(name) == ""


def test_probes_draw_nothing():
    before = torch.get_rng_state()
    for name in private.FEATURES:
        private.fault_of(name)
    for name in probes.MEMBERS:
        probes.fault_of(name)
    assert torch.equal(torch.get_rng_state(), before)


def test_probes_are_of_features():
    tried = {n.name for n in ast.parse(Path(probes.__file__).read_text()).body
             if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")}  # fmt: skip
    assert tried - {"fault_of"} <= set(private.FEATURES)


def test_inside_of_modes():
    """Where the caller is does not matter to a probe: fake tensors, inference, another device."""
    names = ("storage_use_count", "DisableTorchFunction", "len_torch_function_stack")
    names += ("current_graph_task_id", "rebuild_tensor")
    with private.FakeTensorMode(), torch.inference_mode(), torch.device("meta"):
        assert [private.fault_of(name) for name in names] == [""] * len(names)


class TestWhatTheProbesLeaveOut:
    """Dispatch modes and vmap, at whose first use torch loads its compiler."""

    def test_fake_tensors(self):
        mode = private.FakeTensorMode()
        fake = private.FakeTensor(mode, torch.empty(2, 3, device="meta"), torch.device("cpu"))
        with mode:
            product = fake @ torch.empty(3, 4)
            assert private.get_dispatch_mode(private.FAKE_MODE) is mode
            assert private.len_torch_dispatch_stack() == 1
            with private.unset_fake_temporarily():
                assert type(torch.empty(2)) is torch.Tensor
            with private.DisableTorchDispatch():
                assert private.len_torch_dispatch_stack() == 1  # still there, and asleep
        assert isinstance(product, private.FakeTensor)
        assert (tuple(product.shape), product.device.type, product.constant) == (
            (2, 4),
            "cpu",
            None,
        )

    def test_operations(self):
        seen = []

        class Mode(private.TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                seen.append(func)
                return func(*args, **(kwargs or {}))

        one = torch.ones(2)
        with Mode():
            one.add(one)
        assert seen == [torch.ops.aten.add.Tensor]

    def test_vmap(self):
        said = []

        def asked(x):
            said.append(private.peek_interpreter_stack() is not None)
            said.append(private.is_functorch_wrapped_tensor(x))
            said.append(private.are_functorch_transforms_active())
            return x

        torch.func.vmap(asked)(torch.zeros(2))
        assert said == [True] * 3

    def test_a_layer_with_weight_norm(self):
        layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
        assert isinstance(layer.parametrizations.weight[0], private.WeightNorm)


def refusal(change, name):
    """What is said in a process where torch is another."""
    code = f"""
import torch
{change}
import isoinit
try:
    from isoinit._system.private import {name}
except isoinit.IsoinitError as error:
    print(isinstance(error, ImportError), error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_what_is_missing_is_named():
    said = refusal("del torch._C._storage_Use_Count", "storage_use_count")
    assert said == (
        f"True torch {torch.__version__} has no torch._C._storage_Use_Count, which isoinit needs for "
        "isoinit.deferred: install a version of torch that docs/supported.md lists, or a newer isoinit"
    )


def test_what_does_something_else_is_named():
    said = refusal("torch._C._storage_Use_Count = lambda key: 1", "storage_use_count")
    assert "torch._C._storage_Use_Count that does something else, which" in said
    said = refusal("torch._C._storage_Use_Count = lambda: 1", "storage_use_count")
    assert "torch._C._storage_Use_Count that does something else: TypeError: " in said


def test_an_attribute_that_is_missing_is_named():
    said = refusal("del torch.nn.utils.parametrize._cache_enabled", "WeightNorm")
    assert f"torch {torch.__version__} has parametrizations without _cache_enabled, which" in said


def test_a_missing_function_that_can_be_done_without():
    """As in torch 2.6: a layer's noise is then kept for its own call."""
    name = "top_saved_tensors_default_hooks"
    assert refusal(f"vars(torch._C._autograd).pop('_{name}', None)", name) == ""


def test_a_name_that_is_none():
    with pytest.raises(AttributeError, match="'storage_count'"):
        _ = private.storage_count
    assert issubclass(PackageError, ImportError)


def test_this_module_alone_uses_private_names_of_torch():
    homes = {SOURCE / "_system" / f"{name}.py" for name in ("private", "probes")}
    found = []
    for path in set(SOURCE.rglob("*.py")) - homes:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
                dotted = [f"{node.module}.{name.name}" for name in node.names]
            elif isinstance(node, ast.Attribute):
                dotted = [ast.unparse(node)]
            else:
                continue
            found += [f"{path.name}: {name}" for name in dotted if is_private(name)]
    assert found == []


def is_private(name):
    words = name.split(".")
    bases = words[:2] == ["nn", "modules"] and words[-1] in probes.MEMBERS["layers"].names.split()
    hidden = any(w.startswith("_") and not w.startswith("__") for w in words)
    return words[0] in ("torch", "nn") and hidden and not bases
