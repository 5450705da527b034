"""For tests of your models: `assert_healthy`, in pytest, unittest or any other runner."""

from __future__ import annotations

from typing import Any

from torch import nn

from isoinit._verifying.health.results import Health
from isoinit._verifying.health.torch.checks import check


def assert_healthy(model: nn.Module, batch: Any, *, strict: bool = False, **options: Any) -> Health:
    """Raise AssertionError with the findings unless the model is healthy.

    pytest shows the table of layers below the failure, as for `assert isoinit.check(...).ok`.

    Args:
        model: an initialized model.
        batch: real examples, as for `isoinit.check`.
        strict: whether warnings also fail.
        options: the other arguments of `isoinit.check`.

    Returns:
        The check.

    Raises:
        AssertionError: if the check found an error.
        IsoinitError: as `isoinit.check` does.

    Example:
        >>> import isoinit, torch
        >>> from isoinit.testing import assert_healthy
        >>> model = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(20)])
        >>> batch = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
        >>> _ = isoinit.init(model, batch, seed=0)
        >>> assert_healthy(model, batch).ok
        True
    """
    __tracebackhide__ = True  # pytest then points at the line of the test
    health = check(model, batch, **options)
    if failures := health.failures(strict=strict):
        raise AssertionError("\n".join(map(str, failures)))
    return health
