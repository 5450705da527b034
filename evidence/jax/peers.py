"""anyinit beside isoinit on Flax Linen models; writes a section of docs/jax-twins.md.

    PYTHONPATH=tests python -m evidence.jax.peers [--no-docs]

First come the kinds of models that anyinit 0.4.0 tests its JAX backend with, written anew: it reads
Linen alone. Then come the Linen models of `tests/jax_twins`. Each starts as Linen itself starts it, as
anyinit (its analytic mode, and its measured one), and as isoinit does, under one seed. What is told
of a start is how far apart the sizes of layers' outputs are, largest over smallest, the same of the
gradients there, and the errors and warnings of `isoinit.jax.check`, which judges all of them alike.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import anyinit
import jax
import numpy as np
from evidence.jax.twins import PAGE
from evidence.page import ran
from flax import linen

import isoinit.jax as ij
from isoinit import Finding
from isoinit._verifying.health.records import LayerHealth
from jax_twins import TWINS

SEED, EXAMPLES = 0, 256
MARK = "\n## Beside anyinit\n"


class Dense(linen.Module):
    """Hidden layers of one width with ReLU, and an output of eight or ten."""

    depth: int
    width: int
    outputs: int = 8
    use_bias: bool = True

    @linen.compact
    def __call__(self, x: Any) -> Any:
        """Return the output."""
        for _ in range(self.depth):
            x = linen.relu(linen.Dense(self.width, use_bias=self.use_bias)(x))
        return linen.Dense(self.outputs, use_bias=self.use_bias)(x)


class Block(linen.Module):
    """One layer of a nested model."""

    @linen.compact
    def __call__(self, x: Any) -> Any:
        """Return the output."""
        return linen.relu(linen.Dense(16)(x))


class Nested(linen.Module):
    """A block, and an output."""

    @linen.compact
    def __call__(self, x: Any) -> Any:
        """Return the output."""
        return linen.Dense(4)(Block()(x))


class Convolution(linen.Module):
    """One convolution, channels last."""

    @linen.compact
    def __call__(self, x: Any) -> Any:
        """Return the output."""
        return linen.Conv(8, (3, 3))(x)


class Normed(linen.Module):
    """A layer, a norm, and ReLU."""

    @linen.compact
    def __call__(self, x: Any) -> Any:
        """Return the output."""
        return linen.relu(linen.LayerNorm()(linen.Dense(16)(x)))


OWN: dict[str, tuple[linen.Module, tuple[int, ...]]] = {
    "MLP": (Dense(3, 32), (16,)),
    "MLP of its example": (Dense(4, 96, 10, use_bias=False), (64,)),
    "nested block": (Nested(), (8,)),
    "convolution": (Convolution(), (8, 8, 4)),
    "layer, norm, ReLU": (Normed(), (16,)),
    "MLP, 50 layers": (Dense(50, 64), (16,)),
}


def own(name: str) -> tuple[linen.Module, Any, tuple[Any, ...]]:
    """Return a model of its kinds, its variables as Linen starts them, and its inputs."""
    module, shape = OWN[name]
    x = np.random.default_rng(SEED).standard_normal((EXAMPLES, *shape)).astype(np.float32)
    return module, module.init(jax.random.key(SEED), x), (x,)


def twin(name: str) -> tuple[linen.Module, Any, tuple[Any, ...]]:
    """Return a Linen model of the twins, as `own` does."""
    module, _, *inputs = TWINS[name].build_jax()
    return module, module.init(jax.random.key(SEED), *inputs), tuple(inputs)


def analytic(module: linen.Module, variables: Any, inputs: tuple[Any, ...]) -> Any:
    """Return what anyinit makes of variables; it takes one input, and traces the model on it."""
    return anyinit.initialize_params(module, variables, inputs[0], seed=SEED)[0]


def empirical(module: linen.Module, variables: Any, inputs: tuple[Any, ...]) -> Any:
    """Return what anyinit makes of variables, measured on the inputs."""
    return anyinit.initialize_params(module, variables, inputs[0], "empirical", seed=SEED)[0]


def ours(module: linen.Module, variables: Any, inputs: tuple[Any, ...]) -> Any:
    """Return what isoinit makes of variables."""
    return ij.init(module, variables, *inputs, seed=SEED)


STARTS: dict[str, Callable[..., Any]] = {
    "Linen": lambda _module, variables, _inputs: variables,
    "anyinit": analytic,
    "anyinit, measured": empirical,
    "isoinit": ours,
}


def told(start: str, module: linen.Module, variables: Any, inputs: tuple[Any, ...]) -> str:
    """Return what a start gives, in a cell of the table."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            filled = STARTS[start](module, variables, inputs)
    except Exception as error:  # the peer's, which is what is told
        words = " ".join(f"{type(error).__name__}: {error}".replace("|", "/").split())
        return f"raises {words[:60]}"
    health = ij.check(module, filled, *inputs)
    return f"{spread(health.layers)}; {verdict(health.findings)}"


def spread(layers: Sequence[LayerHealth]) -> str:
    """Return how far apart outputs and gradients are, largest over smallest."""
    sizes = ([x.rms for x in layers], [x.gradient for x in layers])
    return ", ".join(apart(found) for found in sizes)


def apart(sizes: Sequence[float]) -> str:
    """Return the largest over the smallest of some sizes."""
    known = [size for size in sizes if not math.isnan(size)]
    if not known or min(known) == 0:
        return "–"
    return f"{max(known) / min(known):.3g}"


def verdict(findings: Sequence[Finding]) -> str:
    """Return the errors and warnings, counted."""
    counts = [sum(f.severity == kind for f in findings) for kind in ("error", "warning")]
    return "healthy" if not any(counts) else f"{counts[0]} errors, {counts[1]} warnings"


HEAD = """
Written by `python -m evidence.jax.peers`. It compares with anyinit {version}, which reads only
Flax Linen in JAX. The first rows are models like those in the tests and examples of anyinit, and
a deep one. Each cell has two ratios and a verdict:

- the largest size of a layer's output divided by the smallest,
- the same ratio for the gradients there,
- what `isoinit.jax.check` finds.

| model | {starts} |
|---|{line}
"""


def main() -> None:
    """Compare, print, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-docs", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    text = HEAD.format(
        version=anyinit.__version__, starts=" | ".join(STARTS), line="---|" * len(STARTS)
    )
    for name in [*OWN, *(name for name, each in TWINS.items() if each.library == "linen")]:
        given = own(name) if name in OWN else twin(name)
        row = f"| {name} | {' | '.join(told(start, *given) for start in STARTS)} |\n"
        print(row, end="", flush=True)
        text += row
    if not arguments.no_docs:
        page = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
        PAGE.write_text(f"{page}{MARK}\n{ran()}\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
