"""The pytest plugin: a fixture, and beneath a failed test what a check or an audit in it had found.

Every pytest run on a machine with isoinit imports this file, so it stands beside the package:
importing the package would import torch.
"""

import sys
from collections.abc import Callable, Generator
from typing import Any

import pytest


@pytest.fixture
def isoinit_check() -> Callable[..., Any]:
    """Return `isoinit.testing.assert_healthy`, which fails the test unless a model is healthy.

    Call it as `isoinit_check(model, batch)`, with the arguments of `isoinit.check` and `strict=`. It
    returns the check. isoinit and torch are imported by the first test that asks for it.
    """
    from isoinit.testing import assert_healthy

    return assert_healthy


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the verdicts with findings that the failed line, or a name beside it, held.

    pytest keeps the parts of a failed `assert` among the frame's local values, so that
    `assert isoinit.check(model, batch).ok` is explained, too.
    """
    report = yield
    module = sys.modules.get("isoinit._showing.findings")
    if call.excinfo is not None and report.failed and module is not None:
        held = call.excinfo.traceback[-1].frame.f_locals.values()
        verdicts = {id(x): x for x in held if issubclass(type(x), module.Verdict) and x.findings}
        report.sections += [("isoinit", str(verdict)) for verdict in verdicts.values()]
    return report
