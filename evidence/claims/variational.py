"""Variational: uncertainty that a deterministic network lacks, and what it costs.

The whole account is docs/variational.md (`make variational`); this is its short form.
"""

from __future__ import annotations

import time
from statistics import mean, median

import torch
from evidence.claims.claim import Claim, Found, main, save
from evidence.variational.digits import SEEDS, SIZES, WARY, Data, probabilities, row, split, turned
from evidence.variational.networks import Setting, mlp, ours, plain
from torch import nn
from torch.nn.functional import cross_entropy

import isoinit
from isoinit import variational

STEPS = 50


def trained(data: Data, seed: int, *, uncertain: bool) -> nn.Module:
    """The same network, of distributions or of single weights."""
    if uncertain:
        return ours(mlp(*SIZES), *data, cross_entropy, WARY, seed)
    return plain(mlp(*SIZES), *data, cross_entropy, Setting(), seed)


def cost(data: Data) -> tuple[float, float]:
    """How many times the time of a step, and the parameters."""
    x, y = data[0][:64], data[1][:64]
    models = [mlp(*SIZES), mlp(*SIZES)]
    isoinit.init(models[0], x, seed=0)
    variational.convert(models[1], isoinit.plan(models[1], x), noise=WARY.noise, seed=0)
    times = []
    for model, share in zip(models, (0.0, 1.0), strict=True):
        optimizer, taken = torch.optim.Adam(model.parameters()), []
        for _ in range(STEPS):
            start = time.perf_counter()
            loss = cross_entropy(model(x), y)
            if share:
                loss = variational.elbo(loss, model, n_data=len(data[1]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            taken.append(time.perf_counter() - start)
        times.append(median(taken))
    counts = [sum(p.numel() for p in model.parameters()) for model in models]
    return times[1] / times[0], counts[1] / counts[0]


def run() -> tuple[list[Found], str]:
    """Train both, and see what they say of digits that are turned by 90°."""
    scores: dict[bool, list[tuple[float, ...]]] = {False: [], True: []}
    entropies = {}
    for seed in SEEDS:
        data, test = split(seed)
        for uncertain in scores:
            model = trained(data, seed, uncertain=uncertain)
            scores[uncertain].append(row(lambda x, model=model: probabilities(model, x), test))
            if seed == SEEDS[0]:
                entropies[uncertain] = [
                    torch.special.entr(probabilities(model, x)).sum(1)
                    for x in (test[0], turned(test[0]))
                ]
    draw(entropies)
    single, many = (
        [mean(column) for column in zip(*scores[u], strict=True)] for u in (False, True)
    )
    slower, larger = cost(split(0)[0])
    lost = 100 * (single[0] - many[0])
    return [
        Found(
            "how well the entropy of the prediction tells turned digits from digits (AUROC)",
            "single weights about chance (0.5) or below, distributions above 0.8",
            f"{single[3]:.2f} and {many[3]:.2f}",
            single[3] < 0.6 and many[3] > 0.8,
        ),
        Found(
            f"accuracy lost, of {100 * single[0]:.1f} %",
            "less than 1 point",
            f"{lost:.1f} points",
            lost < 1,
        ),
        Found(
            "parameters, times those of single weights", "2", f"{larger:.2f}", 1.9 < larger < 2.1
        ),
    ], (
        f"A training step takes {slower:.1f} times as long in this small network, where drawing "
        "random numbers costs most; [the benchmarks](../benchmarks/results.md) have larger networks. "
        "The uncertainty has a limit: independent weights are as sure between two clusters of data as "
        "in them (Foong et al. 2019). This limit, calibration and other libraries are in [networks of "
        "distributions, measured](variational.md). The setting was chosen on other corruptions than "
        "the tested one."
    )


def draw(entropies: dict[bool, list[torch.Tensor]]) -> None:
    """How unsure both networks are of digits, and of turned ones."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    titles = {False: "single weights", True: "distributions"}
    for axes, (uncertain, found) in zip(
        figure.subplots(1, 2, sharey=True), entropies.items(), strict=True
    ):
        for name, values in zip(("digits", "turned digits"), found, strict=True):
            axes.hist(values.numpy(), bins=30, range=(0, 2.3), alpha=0.6, label=name)
        axes.set(title=titles[uncertain], xlabel="entropy of the prediction, nats", yscale="log")
        axes.legend(frameon=False)
    save(figure, "variational")


CLAIM = Claim(
    "variational",
    "Variational: it knows what it does not know",
    "A network whose weights are distributions is unsure about inputs unlike its training data,"
    " where a deterministic network is sure. It needs twice the parameters and more time.",
    "the mission; Blundell et al. 2015",
    f"Digits, a network {'-'.join(map(str, SIZES))}, three seeds, 60 epochs. Digits that are "
    "rotated by 90° are the inputs unlike the training data.",
    run,
)

if __name__ == "__main__":
    main(CLAIM)
