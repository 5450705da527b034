"""Random: too large explodes, too small vanishes, by depth, as the second moment predicts."""

from __future__ import annotations

import numpy as np
import torch
from evidence.claims.claim import Claim, Found, main, save
from evidence.claims.theory import backward, forward, scatter

from isoinit import functional as init

WIDTH, DEPTH, SEEDS, EXAMPLES = 256, 30, 500, 8
TOLERANCE = 0.1
ACTIVATIONS = {"no activation": lambda x: x, "ReLU": torch.relu, "tanh": torch.tanh}
# σ_w², the variance of a weight times the fan-in.
CASES = [
    ("no activation", 1.2),
    ("no activation", 0.8),
    ("ReLU", 2.4),
    ("ReLU", 1.0),
    ("tanh", 3.0),
    ("tanh", 0.7),
]


def predicted(name: str, variance: float) -> np.ndarray:
    """Mean squares by layer, of pre-activations and of gradients by them, each 1 where it enters.

    A layer multiplies the first by σ_w² E f(√q z)²/q, which is σ_w² without activation and σ_w²/2
    under ReLU (He et al. 2015, eq. 9), and the second by σ_w² E f'(√q z)² (eq. 13).
    """
    sizes = forward(name, variance, 1.0, DEPTH)
    return np.array([sizes, backward(name, variance, sizes)])


def measured(name: str, variance: float, seed: int) -> np.ndarray:
    """The same of one network, with random numbers put in at both ends."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.empty(DEPTH, WIDTH, WIDTH)
    init.normal_(weights[:1], 0, WIDTH**-0.5, generator)  # makes pre-activations of size 1
    init.normal_(weights[1:], 0, (variance / WIDTH) ** 0.5, generator)
    x = torch.randn(EXAMPLES, WIDTH, generator=generator)
    values = []
    for weight in weights:
        x = (ACTIVATIONS[name](x) if values else x.requires_grad_()) @ weight.T
        x.retain_grad()
        values.append(x)
    x.backward(torch.randn(EXAMPLES, WIDTH, generator=generator))
    return np.array(
        [
            [v.detach().square().mean().item() for v in values],
            [v.grad.square().mean().item() for v in values],
        ]
    )


def run() -> tuple[list[Found], str]:
    """Predict, measure, compare a layer's factor and that of all layers."""
    found, curves = [], {}
    for case, (name, variance) in enumerate(CASES):
        expected = predicted(name, variance)
        runs = np.array([measured(name, variance, SEEDS * case + seed) for seed in range(SEEDS)])
        means, errors = runs.mean(0), runs.std(0, ddof=1) / SEEDS**0.5
        curves[name, variance] = (expected, means)
        # Forward the last layer, back the first.
        for way, end, what in ((0, -1, "signal, upwards"), (1, 0, "gradient, back")):
            should, total, error = expected[way, end], means[way, end], errors[way, end]
            steps = 1 / (DEPTH - 1)
            found.append(
                Found(
                    f"{name}, σ_w² = {variance:g}: {what}, second moment a layer and over all",
                    f"× {should**steps:.4f}, × {should:.4g}, both within {TOLERANCE:.0%}",
                    f"× {total**steps:.4f}, × {total:.4g} ({total / should - 1:+.1%}, standard "
                    f"error {error / should:.1%})",
                    max(abs(total / should - 1), abs((total / should) ** steps - 1)) < TOLERANCE,
                )
            )
    draw(curves)
    likely = {n: (np.exp(scatter(n) * DEPTH / WIDTH) - 1) ** 0.5 for n in ("no activation", "ReLU")}
    return found, (
        "The prediction is the mean over all random weights. One network of finite width "
        "differs from it at random: the logarithm of its second moment is about normal, with a "
        "variance of (E f⁴/(E f²)² - 1)/width for each layer. This is 2/width without "
        "activation and 5/width with ReLU (Hanin & Rolnick 2018). For one example through these"
        f" layers, the standard deviation is {likely['no activation']:.0%} and "
        f"{likely['ReLU']:.0%} of the second moment. Over {SEEDS} seeds it is "
        f"{likely['no activation'] / SEEDS**0.5:.1%} and {likely['ReLU'] / SEEDS**0.5:.1%}. The "
        f"mean over {EXAMPLES} examples reduces it further, except for the signal with ReLU, "
        "where the examples become the same with depth. Without activation and with ReLU, the "
        "prediction is exact at any width. With tanh it holds for infinite width. Its error is "
        f"then of the order of depth/width ({DEPTH / WIDTH:.0%} here) where gradients grow."
    )


def draw(curves: dict) -> None:
    """Predicted as lines, measured as dots."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    titles = ("signal: pre-activations", "gradient, by pre-activations")
    depth = np.arange(1, DEPTH + 1)
    for way, (axes, title) in enumerate(zip(figure.subplots(1, 2), titles, strict=True)):
        for index, ((name, variance), (expected, means)) in enumerate(curves.items()):
            axes.plot(depth, expected[way], color=f"C{index}", linewidth=1)
            # Every third layer, and from another one each, so that equal ones can be told apart.
            dots = slice(index % 3, None, 3)
            label = f"{name}, σ_w² = {variance:g}"
            axes.plot(depth[dots], means[way][dots], ".", color=f"C{index}", label=label)
        axes.axhline(1, color="gray", linewidth=0.5)
        axes.set(yscale="log", title=title, xlabel="layer", ylabel="mean square")
        axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, "random")


CLAIM = Claim(
    "random",
    "Random: too large explodes, too small vanishes",
    "The variance of the weights and the activation determine the factor by which each layer "
    "changes the second moment of the signal and of the gradient. Both explode or vanish with "
    "depth as predicted.",
    "He et al. 2015, eq. 9 and 13; Poole et al. 2016, eq. 3; Schoenholz et al. 2017, section 4",
    f"Networks of {DEPTH} layers, {WIDTH} wide, {SEEDS} seeds, {EXAMPLES} examples. Lines: closed "
    "forms (for tanh by quadrature). Dots: measured, the mean over seeds.",
    run,
)

if __name__ == "__main__":
    main(CLAIM)
