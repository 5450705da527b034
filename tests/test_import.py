"""Importing isoinit is cheap: what is heavy is imported when it is needed."""

import subprocess
import sys


def test_no_framework_is_imported_with_isoinit():
    heavy = ["torch", "jax", "numpy", "numba", "triton", "rich", "typer", "matplotlib"]
    heavy += ["safetensors", "pytest", "lightning", "pytorch_lightning", "tensorboard"]
    code = f"import sys, isoinit; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_pytest_plugin_does_not_import_torch():
    code = (
        "import sys, isoinit_pytest; print([m for m in ['torch', 'isoinit'] if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_names_that_scripts_rely_on():
    import isoinit

    promised = """
        plan init check Plan Health gain functional variational
        Zeros Ones Constant Identity Dirac Uniform Normal TruncatedNormal XavierNormal XavierUniform
        HeNormal HeUniform LeCunNormal LeCunUniform Orthogonal DeltaOrthogonal Sparse Variational
    """
    assert set(promised.split()) <= set(isoinit.__all__)
    assert all(hasattr(isoinit, name) for name in isoinit.__all__)
    assert callable(isoinit.plan)
    assert callable(isoinit.check)
