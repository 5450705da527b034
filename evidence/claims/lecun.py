"""LeCun: with SELU, mean and variance stay at 0 and 1 through a hundred layers."""

from __future__ import annotations

from statistics import median

import torch
from evidence.claims.claim import Claim, Found, main, save
from evidence.claims.tasks import classified
from torch import nn

import isoinit

DEPTH, WIDTH, EXAMPLES = 100, 512, 256
SMALL, TRAINED, STEPS, SEEDS = 50, 128, 120, range(3)
RATES = (1e-4, 3e-4, 1e-3)
CASES = {
    "SELU, LeCun": (nn.SELU, isoinit.LeCunNormal()),
    "SELU, He": (nn.SELU, isoinit.HeNormal()),
    "ReLU, LeCun": (nn.ReLU, isoinit.LeCunNormal()),
}


def filled(model: nn.Module, start: isoinit.Initializer, x: torch.Tensor, seed: int) -> nn.Module:
    """A model with one initializer on all weights, and zero biases."""
    isoinit.init(model, x, seed, overrides={"*.weight": start, "*.bias": isoinit.Zeros()})
    return model


def moments(name: str, x: torch.Tensor) -> tuple[list[float], list[float]]:
    """Mean and variance of the activations by layer, over examples and units."""
    activation, start = CASES[name]
    layers = [m for _ in range(DEPTH) for m in (nn.Linear(WIDTH, WIDTH), activation())]
    means, variances = [], []
    with torch.no_grad():
        for layer in filled(nn.Sequential(*layers), start, x, 0):
            x = layer(x)
            if not isinstance(layer, nn.Linear):
                means.append(x.mean().item())
                variances.append(x.var().item())
    return means, variances


def trained(name: str) -> float:
    """The loss of a deep network at the end: median over seeds, at the best learning rate."""
    activation, start = CASES[name]
    ends = []
    for rate in RATES:
        found = []
        for seed in SEEDS:
            hidden = [nn.Linear(64, TRAINED), activation()]
            hidden += [m for _ in range(SMALL) for m in (nn.Linear(TRAINED, TRAINED), activation())]
            model = nn.Sequential(*hidden, nn.Linear(TRAINED, 10))
            filled(model, start, classified(0)[0], seed)
            optimizer, losses = torch.optim.Adam(model.parameters(), rate), []
            for step in range(STEPS):
                x, loss = classified(step)
                value = loss(model(x))
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                losses.append(value.item())
            end = sum(losses[-12:]) / 12
            found.append(end if end == end else float("inf"))  # NaN is no loss
        ends.append(median(found))
    return min(ends)


def run() -> tuple[list[Found], str]:
    """Standardized and other inputs through a hundred layers; then a training."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(EXAMPLES, WIDTH, generator=generator)
    by_layer = {name: moments(name, x) for name in CASES}
    # Mean and variance other than 0 and 1, within the domain of the paper's theorem 1.
    other = moments("SELU, LeCun", 0.1 + 1.2**0.5 * x)
    means, variances = by_layer["SELU, LeCun"]
    he = by_layer["SELU, He"][1][-1]
    relu = by_layer["ReLU, LeCun"][1][-1] / by_layer["ReLU, LeCun"][1][0]
    halved = 2.0 ** -(DEPTH - 1)
    losses = {name: trained(name) for name in ("SELU, LeCun", "SELU, He")}
    draw(by_layer)
    return [
        Found(
            f"SELU under LeCun: mean, and variance, over {DEPTH} layers",
            "0 and 1; the paper's domain holds means within ±0.1 and variances of 0.8 to 1.5",
            f"{min(means):.3f} to {max(means):.3f}, and {min(variances):.2f} to {max(variances):.2f}",
            max(map(abs, means)) < 0.1 and min(variances) > 0.8 and max(variances) < 1.5,
        ),
        Found(
            "the same from inputs of mean 0.1 and variance 1.2",
            f"drawn to 0 and 1: within 0.05 and 0.15 at layer {DEPTH}",
            f"{other[0][-1]:.3f} and {other[1][-1]:.2f}",
            abs(other[0][-1]) < 0.05 and abs(other[1][-1] - 1) < 0.15,
        ),
        Found(
            f"SELU under He: variance at layer {DEPTH}",
            "does not stay at 1: above 1.5",
            f"{he:.3g}",
            not 0.8 < he < 1.5,
        ),
        Found(
            f"ReLU under LeCun: variance at layer {DEPTH} by that at layer 1",
            f"halved at each layer: about {halved:.1g}, within a factor of 30",
            f"{relu:.1g}",
            halved / 30 < relu < 30 * halved,
        ),
        Found(
            f"SELU network of {SMALL + 2} layers: loss after {STEPS} steps under LeCun and He",
            "lower under LeCun",
            f"{losses['SELU, LeCun']:.3f} and {losses['SELU, He']:.3g}",
            losses["SELU, LeCun"] < losses["SELU, He"],
        ),
    ], (
        "The paper's theorem is about the mean over weights. In a network of finite width the "
        "variance wanders by chance, and is drawn back at each layer."
    )


def draw(by_layer: dict) -> None:
    """Mean and variance by layer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, (means, variances) in by_layer.items():
        left.plot(range(1, DEPTH + 1), means, label=name)
        right.plot(range(1, DEPTH + 1), variances, label=name)
    left.set(title="mean", xlabel="layer", yscale="symlog")
    left.set_yscale("symlog", linthresh=0.1)
    right.set(title="variance", xlabel="layer", yscale="log", ylim=(1e-12, 1e4))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    right.legend(frameon=False)
    save(figure, "lecun")


CLAIM = Claim(
    "lecun",
    "LeCun: SELU normalizes itself",
    "With SELU and LeCun's initialization, activations keep mean zero and variance one "
    "through a hundred layers, and are drawn there from elsewhere; under He they do not, nor does "
    "ReLU under LeCun.",
    "Klambauer et al. 2017, theorem 1; LeCun et al. 1998, section 4.6",
    f"{DEPTH} layers, {WIDTH} wide, {EXAMPLES} examples; a network of {SMALL + 2} layers trained on "
    f"digits with Adam at the best of {len(RATES)} learning rates, {len(SEEDS)} seeds.",
    run,
)

if __name__ == "__main__":
    main(CLAIM)
