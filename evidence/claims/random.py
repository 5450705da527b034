"""Random: too large explodes, too small vanishes, by depth, as the mean square predicts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from evidence.claims.claim import Claim, Found, main, save
from torch import nn

import isoinit

WIDTH, DEPTH, SEEDS, EXAMPLES = 1024, 30, range(16), 32
TOLERANCE = 0.1

# Nodes and weights of an expectation over a standard normal (Gauss–Hermite); an even number, so that
# no node is at the kink of ReLU.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(200)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def mean_square(function: Callable[[np.ndarray], np.ndarray], q: float) -> float:
    """E f(√q z)²: the second moment behind a function of normal numbers of variance q."""
    return float(WEIGHTS @ function(np.sqrt(q) * NODES) ** 2)


# A layer makes of a pre-activation of variance q one of variance σ_w² E f(√q z)² (Poole et al. 2016,
# eq. 3): of the identity σ_w² q, of ReLU σ_w² q/2. Back goes a gradient whose mean square is that of
# the layer above times σ_w² E f'(√q z)².
FUNCTIONS: dict[str, tuple[type[nn.Module], Callable, Callable]] = {
    "no activation": (nn.Identity, lambda x: x, np.ones_like),
    "ReLU": (nn.ReLU, lambda x: np.maximum(x, 0), lambda x: (x > 0).astype(float)),
    "tanh": (nn.Tanh, np.tanh, lambda x: 1 / np.cosh(x) ** 2),
}
# σ_w², the variance of a weight times the fan-in.
CASES = [
    ("no activation", 1.2),
    ("no activation", 0.8),
    ("ReLU", 2.4),
    ("ReLU", 1.0),
    ("tanh", 3.0),
    ("tanh", 0.7),
]


def predicted(name: str, variance: float) -> tuple[list[float], list[float]]:
    """Mean squares by layer: of pre-activations, and of gradients by them, from 1 at both ends."""
    _, function, slope = FUNCTIONS[name]
    forward = [1.0]
    for _ in range(DEPTH - 1):
        forward.append(variance * mean_square(function, forward[-1]))
    backward = [1.0]
    for q in reversed(forward[:-1]):
        backward.append(backward[-1] * variance * mean_square(slope, q))
    return forward, backward[::-1]


def measured(name: str, variance: float, seed: int) -> tuple[list[float], list[float]]:
    """The same of a network, with random numbers put in at both ends."""
    activation = FUNCTIONS[name][0]
    layers = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH)]
    # Unit-size inputs, so that the first layer, at variance 1/fan-in, gives pre-activations of size 1.
    overrides = {
        "*": isoinit.Normal(std=(variance / WIDTH) ** 0.5),
        "0.weight": isoinit.LeCunNormal(),
    }
    isoinit.init(nn.Sequential(*layers), torch.zeros(1, WIDTH), seed, overrides=overrides)
    generator = torch.Generator().manual_seed(seed)
    x, values = torch.randn(EXAMPLES, WIDTH, generator=generator), []
    for index, layer in enumerate(layers):
        x = layer(x if index == 0 else activation()(x))
        x.retain_grad()
        values.append(x)
    values[-1].backward(torch.randn(EXAMPLES, WIDTH, generator=generator))
    return (
        [v.detach().square().mean().item() for v in values],
        [v.grad.square().mean().item() for v in values],
    )


def factor(sizes: list[float]) -> float:
    """By how much a root mean square grows a layer, over all layers."""
    return (sizes[-1] / sizes[0]) ** (0.5 / (len(sizes) - 1))


def run() -> tuple[list[Found], str]:
    """Predict, measure, compare layer by layer."""
    found, curves = [], {}
    for name, variance in CASES:
        expected = predicted(name, variance)
        runs = [measured(name, variance, seed) for seed in SEEDS]
        means = [np.mean([run[way] for run in runs], 0) for way in (0, 1)]
        curves[name, variance] = (expected, means)
        # Root mean squares by layer; the worst over depth, forward and backward.
        off = [
            float(np.abs(np.sqrt(means[way] / np.array(expected[way])) - 1).max()) for way in (0, 1)
        ]
        found.append(
            Found(
                f"{name}, σ_w² = {variance:g}: root mean square at layer {DEPTH}, and of the "
                "gradient at layer 1",
                f"{expected[0][-1] ** 0.5:.3g} and {expected[1][0] ** 0.5:.3g}, each layer within "
                f"{TOLERANCE:.0%}",
                f"{means[0][-1] ** 0.5:.3g} and {means[1][0] ** 0.5:.3g}; off by at most {off[0]:.1%} "
                f"and {off[1]:.1%}",
                max(off) < TOLERANCE,
            )
        )
    draw(curves)
    error = (5 * DEPTH / WIDTH / len(SEEDS)) ** 0.5 / 2
    return found, (
        "The prediction is the mean over all weights. One network of finite width is off by chance: "
        "the logarithm of its mean square has a variance of about (E f⁴/(E f²)² - 1) a layer over the "
        "width, 5/n for ReLU (Hanin & Nica 2020), which over these layers, seeds and width is some "
        f"{error:.0%} of the root mean square for ReLU, and less for the others."
    )


def draw(curves: dict) -> None:
    """Predicted as lines, measured as dots."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    titles = ("forward: pre-activations", "backward: gradients")
    for way, (axes, title) in enumerate(zip(figure.subplots(1, 2), titles, strict=True)):
        for index, ((name, variance), (expected, means)) in enumerate(curves.items()):
            depth = np.arange(1, DEPTH + 1)
            axes.plot(depth, np.sqrt(expected[way]), color=f"C{index}", linewidth=1)
            label = f"{name}, σ_w² = {variance:g}"
            axes.plot(depth[::3], np.sqrt(means[way])[::3], ".", color=f"C{index}", label=label)
        axes.set(yscale="log", title=title, xlabel="layer", ylabel="root mean square")
        axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, "random")


CLAIM = Claim(
    "random",
    "Random: too large explodes, too small vanishes",
    "The size of the signal changes by a constant factor a layer, which the variance of the weights "
    "and the activation decide; forward and backward it can be predicted.",
    "He et al. 2015, eq. 9 and 13; Poole et al. 2016, eq. 3; Schoenholz et al. 2017, eq. 5",
    f"Networks of {DEPTH} layers, {WIDTH} wide, {len(SEEDS)} seeds, {EXAMPLES} examples; lines are "
    "the closed forms (by quadrature for tanh), dots are measured.",
    run,
)

if __name__ == "__main__":
    main(CLAIM)
