"""Importing isoinit is cheap: what is heavy is imported when it is needed, and may be missing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import isoinit

ROOT = Path(__file__).parents[1]
BLOCKED = "import sys; sys.modules.update(torch=None, numba=None, rich=None)\n"


def printed(code):
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_no_framework_is_imported_with_isoinit():
    heavy = ["torch", "jax", "numpy", "numba", "triton", "rich", "typer", "matplotlib"]
    heavy += ["safetensors", "pytest", "lightning", "pytorch_lightning", "tensorboard"]
    assert printed(f"import sys, isoinit; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_the_pytest_plugin_does_not_import_torch():
    heavy = ["torch", "isoinit"]
    code = f"import sys, isoinit_pytest; print([m for m in {heavy} if m in sys.modules])"
    assert printed(code) == "[]"


def test_without_a_framework_arrays_are_filled_and_plans_are_read(tmp_path):
    """As where torch is not installed; the bits are those that a tensor gets."""
    import torch

    isoinit.plan(torch.nn.Linear(6, 8), torch.zeros(1, 6)).save(tmp_path / "plan.json")
    whole = isoinit.fill_slice(torch.empty(8, 6), isoinit.HeNormal(), "weight", (8, 6), (), seed=5)
    code = f"""
import isoinit, numpy as np
weight = isoinit.fill_slice(np.empty((8, 6), "f4"), isoinit.HeNormal(), "weight", (8, 6), (), seed=5)
print(weight.tolist() == {whole.tolist()})
plan = isoinit.Plan.load({str(tmp_path / "plan.json")!r})
plan["weight"] = isoinit.Orthogonal()
print(round(plan["weight"].std, 4), round(isoinit.gain("tanh"), 4), round(isoinit.gain(np.tanh), 4))
"""
    assert printed(BLOCKED + code).split() == ["True", "0.3536", "1.5925", "1.5925"]


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("isoinit.plan(None)", "isoinit.plan"),
        ("isoinit.init(None)", "isoinit.plan"),
        ("isoinit.read(None)", "isoinit.read"),
        ("isoinit.check", "isoinit.check"),
        ("isoinit.sparse", "isoinit.sparse"),
        ("isoinit.Plan({}).apply(None)", "Plan.apply"),
        ("isoinit.Plan({}).fingerprint()", "Plan.fingerprint"),
    ],
)
def test_what_needs_torch_says_so(call, what):
    code = f"""
import isoinit
try:
    {call}
except isoinit.IsoinitError as error:
    print(isinstance(error, ImportError), error)
"""
    said = f"True {what} needs torch, which is not installed: pip install torch"
    assert printed(BLOCKED + code) == said


def test_rooms_that_the_contract_calls_free_of_frameworks_are():
    """The contract reads the code; this imports the rooms."""
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (core,) = [c for c in contracts["contracts"] if c["type"] == "forbidden"]
    names = core["source_modules"]
    assert len(names) > 15
    imports = "\n".join(f"import {name}" for name in names)
    assert (
        printed(f"{imports}\nprint('torch' in sys.modules)".join(["import sys\n", ""])) == "False"
    )


def test_names_for_programs_and_for_type_checkers_are_the_same():
    tree = ast.parse(Path(isoinit.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        name.name: node.module.removeprefix("isoinit.")
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module != "isoinit"
        for name in node.names
    }
    assert seen == {name: home.removeprefix("isoinit.") for name, home in isoinit._HOMES.items()}
    assert {*isoinit._HOMES, *isoinit._PACKAGES} >= set(isoinit.__all__)
    assert set(isoinit.__all__) <= set(dir(isoinit))


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'plans'"):
        _ = isoinit.plans


def test_the_names_that_scripts_rely_on():
    promised = """
        plan init check Plan Health gain functional variational
        Zeros Ones Constant Identity Dirac Uniform Normal TruncatedNormal XavierNormal XavierUniform
        HeNormal HeUniform LeCunNormal LeCunUniform Orthogonal DeltaOrthogonal Sparse Variational
    """
    assert set(promised.split()) <= set(isoinit.__all__)
    assert all(hasattr(isoinit, name) for name in isoinit.__all__)
    assert callable(isoinit.plan)
    assert callable(isoinit.check)
