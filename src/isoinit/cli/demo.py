"""The main job on real input: a 30-layer network that torch's own default cannot train."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn

from isoinit._planning.verbs import plan
from isoinit._showing.picture import signal_by_depth
from isoinit._verifying.health.results import Health
from isoinit._verifying.health.torch.checks import check
from isoinit.errors import ArgumentError

DEPTH, WIDTH = 30, 128
EPOCHS, BATCH, RATE = 25, 64, 1e-3
TRAINING = 1437  # four in five of the 1,797 digits
STEPS = EPOCHS * -(-TRAINING // BATCH)


@dataclass(frozen=True)
class Digits:
    """The 1,797 handwritten digits that scikit-learn ships, 8×8 pixels each, standardized."""

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor


@dataclass(frozen=True)
class Outcome:
    """What came of both networks: accuracy on held-out digits, from 0 to 1, and the picture."""

    default_accuracy: float
    planned_accuracy: float
    default_health: Health
    planned_health: Health
    picture: Path


def load_digits() -> Digits:
    """The digits, four in five for training.

    Raises:
        ArgumentError: without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ImportError:
        raise ArgumentError(
            "the demo needs scikit-learn and matplotlib: pip install 'isoinit[demo]'"
        ) from None
    data = load()
    x = torch.tensor(data.data, dtype=torch.float32)
    x = (x - x.mean()) / x.std()
    y = torch.tensor(data.target)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    train, test = order[:TRAINING], order[TRAINING:]
    return Digits(x[train], y[train], x[test], y[test])


def deep_network() -> nn.Sequential:
    """A plain network of 30 weight layers with ReLU between them; no norm, no skip."""
    sizes = [64, *[WIDTH] * (DEPTH - 1)]
    hidden: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        hidden += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, 10))


def train(model: nn.Module, digits: Digits, advance: Callable[[], None]) -> float:
    """Train with Adam for a few epochs; returns the accuracy on held-out digits."""
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    shuffle = torch.Generator().manual_seed(0)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(digits.train_x), generator=shuffle).split(BATCH):
            loss = nn.functional.cross_entropy(model(digits.train_x[batch]), digits.train_y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            advance()
    with torch.no_grad():
        return float((model(digits.test_x).argmax(1) == digits.test_y).float().mean())


def run(seed: int, picture: Path, console: Console) -> Outcome:
    """Plan, apply, check, and train the same network from torch's default and from the plan.

    Args:
        seed: of the plan, and of torch's default.
        picture: where to write the signal by depth.
        console: where to print.
    """
    digits = load_digits()
    example = digits.train_x[:256]
    labels = digits.train_y[:256]

    def loss(output: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output, labels)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        default = deep_network()
    planned = deep_network()
    chosen = plan(planned, example)
    console.print(str(chosen), highlight=False, markup=False)
    chosen.apply(planned, seed)
    before, after = check(default, example, loss=loss), check(planned, example, loss=loss)
    for name, health in (("torch's default", before), ("isoinit's plan", after)):
        console.rule(name)
        console.print(str(health), highlight=False, markup=False)
    signal_by_depth(
        {name: [layer.spread for layer in h.layers] for name, h in _named(before, after)},
        {name: [layer.gradient for layer in h.layers] for name, h in _named(before, after)},
        picture,
    )
    with Progress(console=console) as progress, _no_denormals():
        tasks = [progress.add_task(f"training, {n}", total=STEPS) for n, _ in _named(before, after)]
        accuracies = [
            train(model, digits, partial(progress.advance, task))
            for model, task in zip((default, planned), tasks, strict=True)
        ]
    return Outcome(accuracies[0], accuracies[1], before, after, picture)


@contextmanager
def _no_denormals() -> Iterator[None]:
    """Round vanished signals to zero: processors handle denormal numbers a hundred times slower.

    The switch holds for the calling thread alone, and layers this narrow gain nothing from a second.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def _named(default: Health, planned: Health) -> list[tuple[str, Health]]:
    return [("torch's default", default), ("isoinit's plan", planned)]
