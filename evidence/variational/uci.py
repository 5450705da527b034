"""Regression on three sets of the UCI repository, beside bayesian-torch and MC dropout as published.

    python -m evidence.variational uci [--sweep]

Yacht, energy and concrete (see data/README.md): one hidden layer of 50 ReLU units, twenty random
splits of 90 % for training and 10 % for testing, inputs and targets standardized by the training
part. The noise of the targets is one learned number in both libraries, and the test log-likelihood
is that of the mixture over draws, in the units of the target. Both train with Adam, on the same
batches for the same number of steps. `--sweep` trains each setting on four fifths of the training
part of `TUNING` splits, scores it on the last fifth, and prints the one of the highest
log-likelihood: for both libraries.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from evidence.variational.networks import Setting, bayesian_torch, forwards, mlp, ours
from torch import nn

from isoinit import variational

DATA = Path(__file__).parent / "data"
SETS = ("yacht", "energy", "concrete")
SPLITS, TUNING, STEPS, BATCH, SAMPLES = 20, 3, 4000, 32, 100
# Chosen by --sweep.
OURS = {
    "yacht": Setting(temperature=0.1, noise="local", rate=1e-2, batch=BATCH),
    "energy": Setting(temperature=0.1, noise="local", rate=3e-3, batch=BATCH),
    "concrete": Setting(temperature=0.01, noise="common", rate=3e-3, batch=BATCH),
}
PEER = {name: Setting(rate=1e-2, batch=BATCH) for name in SETS}
# As published for MC dropout: error and log-likelihood.
DROPOUT = {"yacht": (0.67, -1.25), "energy": (0.54, -1.21), "concrete": (4.83, -2.94)}
Pair = tuple[torch.Tensor, torch.Tensor]


def load(name: str) -> Pair:
    """Inputs and targets."""
    table = torch.as_tensor(np.loadtxt(DATA / f"{name}.txt"), dtype=torch.float32)
    return table[:, :-1], table[:, -1]


def split(data: Pair, seed: int, share: int = 10) -> tuple[Pair, Pair]:
    """Training examples, and one in `share` for testing."""
    x, y = data
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    cut = round(len(y) / share)
    return (x[order[cut:]], y[order[cut:]]), (x[order[:cut]], y[order[:cut]])


def standardized(train: Pair, test: Pair) -> tuple[Pair, Pair, float]:
    """Both by the training part; and the standard deviation of its targets."""
    x, y = train
    centre, spread = x.mean(0), x.std(0).clamp_min(1e-6)
    middle, size = y.mean(), y.std()
    pairs = [((a - centre) / spread, (b - middle) / size) for a, b in (train, test)]
    return pairs[0], pairs[1], size.item()


class Noise:
    """A normal likelihood whose standard deviation is learned."""

    def __init__(self) -> None:
        self.log_std = nn.Parameter(torch.tensor(-1.0))

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The mean negative log-likelihood."""
        z = (output[:, 0] - target) / self.log_std.exp()
        return (z.square() / 2).mean() + self.log_std + math.log(2 * math.pi) / 2

    def score(self, outputs: torch.Tensor, test: Pair, size: float) -> tuple[float, float]:
        """Root mean square error and mean log-likelihood of (samples, examples, 1) outputs."""
        means, target = outputs[..., 0], test[1]
        law = torch.distributions.Normal(means, self.log_std.detach().exp())
        likelihood = law.log_prob(target).logsumexp(0) - math.log(len(means))
        error = (means.mean(0) - target).square().mean().sqrt().item() * size
        return error, likelihood.mean().item() - math.log(size)


def run_ours(train: Pair, test: Pair, setting: Setting, seed: int) -> tuple[float, float]:
    """Our error and log-likelihood."""
    train, test, size = standardized(train, test)
    noise = Noise()
    model = ours(mlp(train[0].shape[1], 50, 1), *train, noise, setting, seed, noise.log_std)
    draws = variational.predict(model, test[0], SAMPLES, seed=seed).draws
    return noise.score(draws, test, size)


def run_peer(train: Pair, test: Pair, setting: Setting, seed: int) -> tuple[float, float]:
    """bayesian-torch's."""
    train, test, size = standardized(train, test)
    noise = Noise()
    model = mlp(train[0].shape[1], 50, 1)
    bayesian_torch(model, *train, noise, setting, seed, noise.log_std)
    return noise.score(forwards(model, test[0], SAMPLES), test, size)


def epochs(size: int) -> int:
    """As many as take about `STEPS` steps."""
    return round(STEPS / math.ceil(size / BATCH))


def _with_epochs(setting: Setting, size: int) -> Setting:
    return Setting(**{**vars(setting), "epochs": epochs(size)})


def report() -> list[str]:
    """The page's part."""
    lines = [
        "## Regression",
        "",
        f"Means of {SPLITS} splits ± the standard error. The error is the root mean square error, in",
        "the units of the target (lower is better). The test log-likelihood is better if it is",
        "higher.",
        "",
        "| set | isoinit, error | log-likelihood | bayesian-torch, error | log-likelihood "
        "| MC dropout, published |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in SETS:
        data, cells = load(name), []
        for run, setting in ((run_ours, OURS[name]), (run_peer, PEER[name])):
            found = []
            for seed in range(SPLITS):
                train, test = split(data, seed)
                found.append(run(train, test, _with_epochs(setting, len(train[1])), seed))
            cells += [
                f"{mean(column):.2f} ± {stdev(column) / math.sqrt(SPLITS):.2f}"
                for column in zip(*found, strict=True)
            ]
        published = " / ".join(f"{number:.2f}" for number in DROPOUT[name])
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {published} |")
        print(lines[-1], flush=True)
    settings = [f"- {name}: {setting}" for name, setting in OURS.items()]
    rates = ", ".join(f"{name} {setting.rate:g}" for name, setting in PEER.items())
    return [*lines, "", "Settings:", "", *settings, f"- bayesian-torch, step: {rates}.", ""]


GRID = {
    "temperature": (0.01, 0.1, 1.0),
    "noise": ("common", "local"),
    "rate": (3e-3, 1e-2),
}


def sweep() -> None:
    """Print what every setting does on validation examples, and the best of each set."""
    for name in SETS:
        grid = [
            Setting(**dict(zip(GRID, values, strict=True)), batch=BATCH)
            for values in itertools.product(*GRID.values())
        ]
        _best(name, "isoinit", run_ours, grid)
        peers = [Setting(rate=rate, batch=BATCH) for rate in GRID["rate"]]
        _best(name, "bayesian-torch", run_peer, peers)


def _best(
    name: str,
    library: str,
    run: Callable[[Pair, Pair, Setting, int], tuple[float, float]],
    settings: list[Setting],
) -> None:
    rows = []
    for setting in settings:
        found = []
        for seed in range(TUNING):
            train, held = split(split(load(name), seed)[0], seed, share=5)
            found.append(run(train, held, _with_epochs(setting, len(train[1])), seed))
        error, likelihood = (mean(column) for column in zip(*found, strict=True))
        rows.append((likelihood, error, setting))
        print(f"{name} {library} {error:.3f} {likelihood:.3f} {setting}", flush=True)
    print("BEST", name, library, max(rows, key=lambda row: row[0])[2], flush=True)
