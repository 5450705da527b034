"""Xavier: with tanh signal and gradient keep their size over layers; with ReLU they do not."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import torch
from evidence.claims.claim import Claim, Found, main, save
from evidence.claims.digits import digits, fitted
from evidence.claims.theory import FUNCTIONS, backward, expected, forward
from torch import nn
from torch.nn.functional import cross_entropy

import isoinit

LAYERS, UNITS, EXAMPLES = 5, 1000, 300
DEEP, WIDE, STEPS, RATES, SEEDS, OTHER = 20, 128, 150, (3e-4, 1e-3, 3e-3), range(3), 100
TOLERANCE = 0.1
# The paper's "standard", U(±1/√n) with n the fan-in (eq. 1), which is torch's default as well, and
# "normalized", U(±√6/√(fan-in + fan-out)) (eq. 16).
STARTS = {"standard": isoinit.LeCunUniform(gain=3**-0.5), "normalized": isoinit.XavierUniform()}


def network(
    activation: type[nn.Module], start: isoinit.Initializer, depth: int, width: int, seed: int = 0
) -> nn.Sequential:
    """Hidden layers of one width between 64 pixels and 10 classes; biases zero."""
    sizes = [64, *[width] * depth]
    hidden = [m for pair in pairwise(sizes) for m in (nn.Linear(*pair), activation())]
    model = nn.Sequential(*hidden, nn.Linear(width, 10))
    overrides = {"*.weight": start, "*.bias": isoinit.Zeros()}
    isoinit.init(model, digits()[0][:EXAMPLES], seed, overrides=overrides)
    return model


def measured(model: nn.Sequential) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Activations by hidden layer, and gradients of the loss by what the activations are made of."""
    x, y = (values[:EXAMPLES] for values in digits())
    before, after = [], []
    for layer in model:
        x = layer(x)
        (before if isinstance(layer, nn.Linear) else after).append(x)
        x.retain_grad()
    cross_entropy(x, y).backward()
    return [a.detach() for a in after], [b.grad for b in before[:-1]]


def predicted(name: str) -> tuple[float, float]:
    """Of the root mean squares: activations at the last layer by the first, gradients the reverse.

    n Var(W) is 1/3 under the standard initialization, so that a layer keeps 1/√3 of either (eq. 5 and
    6); 1 under the normalized one. Tanh takes E tanh² of a signal, and E tanh'² of a gradient.
    """
    variance, first = {"standard": (1 / 3, 1 / 3), "normalized": (1, 2 * 64 / (64 + UNITS))}[name]
    sizes = forward("tanh", variance, first, LAYERS)  # the pixels' mean square is one
    tops = [expected(FUNCTIONS["tanh"][0], q) for q in (sizes[-1], sizes[0])]
    return (tops[0] / tops[1]) ** 0.5, backward("tanh", variance, sizes)[0] ** 0.5


def trained(start: isoinit.Initializer, rate: float, seed: int) -> float:
    """The loss of the deep ReLU network after some steps of Adam."""
    return sum(fitted(network(nn.ReLU, start, DEEP, WIDE, seed), rate, STEPS)[-10:]) / 10


def run() -> tuple[list[Found], str]:
    """The paper's network under both initializations, then a deep one under ReLU."""
    found, kept = [], {}
    for name, start in STARTS.items():
        kept[name] = measured(network(nn.Tanh, start, LAYERS, UNITS))
        activations, gradients = ([v.std().item() for v in values] for values in kept[name])
        ratios = activations[-1] / activations[0], gradients[0] / gradients[-1]
        wholes = (
            f"activations, layer {LAYERS} by layer 1",
            f"back-propagated gradients, layer 1 by layer {LAYERS}",
        )
        for what, ratio, should in zip(wholes, ratios, predicted(name), strict=True):
            found.append(
                Found(
                    f"tanh, {name}: standard deviation of {what}",
                    f"{should:.3f}, within {TOLERANCE:.0%}",
                    f"{ratio:.3f} ({ratio / should - 1:+.1%})",
                    abs(ratio / should - 1) < TOLERANCE,
                )
            )
    methods = {"Xavier": isoinit.XavierNormal(), "He": isoinit.HeNormal()}
    for (name, start), should in zip(methods.items(), (0.5, 1.0), strict=True):
        factors = []
        for seed in SEEDS:
            sizes = [
                a.square().mean().item()
                for a in measured(network(nn.ReLU, start, DEEP, WIDE, seed))[0]
            ]
            factors.append((sizes[-1] / sizes[0]) ** (1 / (DEEP - 1)))
        factor = median(factors)
        found.append(
            Found(
                f"ReLU, {DEEP} layers, {name}: factor of the second moment in each layer",
                # n Var(W)/2 (He et al. 2015, eq. 9), in square layers
                f"{should:g}, within {TOLERANCE:.0%}",
                f"{factor:.3f}",
                abs(factor / should - 1) < TOLERANCE,
            )
        )
    rates = {n: min(RATES, key=lambda r, s=s: trained(s, r, OTHER)) for n, s in methods.items()}
    ends = {n: sorted(trained(s, rates[n], seed) for seed in SEEDS) for n, s in methods.items()}
    found.append(
        Found(
            f"the same networks: loss after {STEPS} steps, Xavier and He, medians",
            "higher under Xavier, under every seed",
            " and ".join(f"{e[1]:.2f} ({e[0]:.2f}–{e[-1]:.2f})" for e in ends.values()),
            ends["Xavier"][0] > ends["He"][-1],
        )
    )
    draw(kept)
    return found, (
        "The paper's formulas keep the size of signal and gradient for units that are linear "
        "around zero. tanh is not exactly linear, so each layer reduces both a little, as "
        "predicted. Learning rates: "
        f"{', '.join(f'{name} {rate:g}' for name, rate in rates.items())}."
    )


def draw(kept: dict) -> None:
    """Histograms by layer, as the paper's figures 6 and 7."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.6), layout="constrained")
    grid = figure.subplots(2, 2, sharex="row", sharey="row")
    widest = max(g.std().item() for _, gradients in kept.values() for g in gradients)
    for column, (name, found) in enumerate(kept.items()):
        for row, (what, limit) in enumerate((("activation", 1.0), ("gradient", 3 * widest))):
            axes = grid[row][column]
            for layer, value in enumerate(found[row], 1):
                shares = torch.histc(value, 61, -limit, limit) / value.numel()
                places = torch.linspace(-limit, limit, 61)
                axes.plot(places, shares, linewidth=1, label=f"layer {layer}")
            axes.set(title=f"{what}s, {name}", xlabel=what, yticks=[], ylim=(0, 0.2))
    for row in (0, 1):
        grid[row][0].set_ylabel("share of units")
        grid[row][1].ticklabel_format(axis="x", style="sci", scilimits=(-2, 2))
    grid[0][0].legend(frameon=False, fontsize=7)
    save(figure, "xavier")


CLAIM = Claim(
    "xavier",
    "Xavier: signal and gradient keep their size with tanh",
    "With the normalized initialization, activations and gradients of a tanh network keep about"
    " the same standard deviation at every layer. With the standard initialization they shrink."
    " With ReLU, the normalized initialization is not enough.",
    "Glorot & Bengio 2010, figures 6 and 7, eq. 1, 5, 6 and 16; He et al. 2015, section 2.2",
    f"The paper's network, {LAYERS} hidden layers of {UNITS} tanh units, on {EXAMPLES} digits "
    f"(the paper used generated shapes). ReLU networks of {DEEP} layers, {WIDE} wide: Adam at "
    f"the best of {len(RATES)} learning rates (chosen with a separate seed), then {len(SEEDS)} "
    "seeds.",
    run,
)

if __name__ == "__main__":
    main(CLAIM)
