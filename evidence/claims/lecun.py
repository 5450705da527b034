"""LeCun: with SELU, mean and variance stay at 0 and 1 through a hundred layers, or are drawn there."""

from __future__ import annotations

import math
from statistics import median

import torch
from evidence.claims.claim import Claim, Found, main, save
from evidence.claims.digits import classified, fitted
from evidence.claims.theory import FUNCTIONS, expected, forward, scatter
from torch import nn

import isoinit

DEPTH, WIDTH, EXAMPLES = 100, 512, 256
HIDDEN, NARROW, STEPS, SEEDS, OTHER = 50, 128, 60, range(3), 100
RATES = (1e-4, 3e-4, 1e-3, 3e-3)
TOLERANCE = 0.1
# An activation, an initializer, and σ_w², the variance of a weight times the fan-in.
CASES = {
    "SELU, LeCun": (nn.SELU, isoinit.LeCunNormal(), 1),
    "SELU, He": (nn.SELU, isoinit.HeNormal(), 2),
    "ReLU, LeCun": (nn.ReLU, isoinit.LeCunNormal(), 1),
}
# Mean and variance of inputs that are not standardized; the first is in the domain of theorem 1.
OTHERS = {"0.1 and 1.2": (0.1, 1.2), "0 and 0.25": (0.0, 0.25), "1 and 4": (1.0, 4.0)}


def predicted(name: str, square: float) -> tuple[list[float], list[float]]:
    """Mean and variance of the activations by layer, from the mean square of the input.

    The paper's map (eq. 4 and 5) with ω = 0 and τ = σ_w²: a pre-activation is N(0, q), and the next
    layer's q is σ_w² times the mean square of the activations, E f(√q z)².
    """
    variance, f = CASES[name][2], FUNCTIONS[name.split(",")[0]][0]
    sizes = forward(name.split(",")[0], variance, variance * square, DEPTH)
    means = [expected(f, q, 1) for q in sizes]
    return means, [expected(f, q) - m * m for q, m in zip(sizes, means, strict=True)]


def measured(name: str, x: torch.Tensor) -> tuple[list[float], list[float], float]:
    """The same of a network, and how far single examples scatter at the end, in mean square."""
    activation, start, _ = CASES[name]
    layers = [m for _ in range(DEPTH) for m in (nn.Linear(WIDTH, WIDTH), activation())]
    model = nn.Sequential(*layers)
    isoinit.init(model, x, 0, overrides={"*.weight": start, "*.bias": isoinit.Zeros()})
    means, variances = [], []
    with torch.no_grad():
        for layer in model:
            x = layer(x)
            if isinstance(layer, activation):
                means.append(x.double().mean().item())
                variances.append(x.double().var().item())
    return means, variances, x.square().mean(1).std().item()


def trained(name: str, rate: float, seed: int) -> float:
    """The loss of a deep network after some steps of Adam."""
    activation, start, _ = CASES[name]
    hidden = [nn.Linear(64, NARROW), activation()]
    hidden += [m for _ in range(HIDDEN) for m in (nn.Linear(NARROW, NARROW), activation())]
    model = nn.Sequential(*hidden, nn.Linear(NARROW, 10))
    overrides = {"*.weight": start, "*.bias": isoinit.Zeros()}
    isoinit.init(model, classified(0)[0], seed, overrides=overrides)
    end = sum(fitted(model, rate, STEPS)[-10:]) / 10
    return end if math.isfinite(end) else math.inf


def run() -> tuple[list[Found], str]:
    """Standardized and other inputs through a hundred layers; then a training."""
    x = torch.randn(EXAMPLES, WIDTH, generator=torch.Generator().manual_seed(0))
    kept = {name: measured(name, x) for name in CASES}
    means, variances, spread = kept["SELU, LeCun"]
    # A layer adds scatter(SELU)/n to the variance of q, and draws deviations together by the slope of
    # q ↦ E selu(√q z)² at its fixed point 1, the paper's 0.7826; a geometric series.
    selu, step = FUNCTIONS["SELU"][0], 1e-4
    slope = (expected(selu, 1 + step) - expected(selu, 1 - step)) / (2 * step)
    likely = (scatter("SELU") / WIDTH / (1 - slope**2)) ** 0.5
    found = [
        Found(
            f"SELU under LeCun: mean, and variance, over {DEPTH} layers",
            "0 and 1; the paper's domain holds means within ±0.1 and variances of 0.8 to 1.5",
            f"{min(means):.3f} to {max(means):.3f}, and {min(variances):.2f} to {max(variances):.2f}",
            max(map(abs, means)) < 0.1 and min(variances) > 0.8 and max(variances) < 1.5,
        ),
        Found(
            f"the same: scatter of single examples' mean square at layer {DEPTH}",
            f"{likely:.3f} by the finite width (slope {slope:.4f} at the fixed point), within a "
            "quarter",
            f"{spread:.3f}",
            abs(spread / likely - 1) < 0.25,
        ),
    ]
    for label, (mean, variance) in OTHERS.items():
        other = mean + variance**0.5 * x
        kept[f"SELU, LeCun, input {label}"] = now = measured("SELU, LeCun", other)
        should = predicted("SELU, LeCun", mean**2 + variance)[1]
        off = max(abs(n / s - 1) for n, s in zip(now[1], should, strict=True))
        found.append(
            Found(
                f"SELU under LeCun, input of mean and variance {label}: variance at layers 1, "
                f"10, {DEPTH}",
                ", ".join(f"{should[i - 1]:.2f}" for i in (1, 10, DEPTH))
                + f": drawn to 1; each layer within {TOLERANCE:.0%}",
                ", ".join(f"{now[1][i - 1]:.2f}" for i in (1, 10, DEPTH)) + f"; off by {off:.1%}",
                off < TOLERANCE,
            )
        )
    # Without a fixed point deviations add up: the logarithm of the variance is about normal, with a
    # variance of 5/n a layer (SELU is all but ReLU for large numbers), and the median lies below the
    # mean.
    log = scatter("ReLU") * DEPTH / WIDTH
    for name in ("SELU, He", "ReLU, LeCun"):
        should, now = predicted(name, 1.0)[1][-1] * math.exp(-log / 2), kept[name][1][-1]
        found.append(
            Found(
                f"{name.replace(',', ' under')}: variance at layer {DEPTH}",
                f"does not stay: {should:.1g}, within a factor of {math.exp(3 * log**0.5):.0f} (three "
                "standard deviations of the finite width)",
                f"{now:.1g}",
                abs(math.log(now / should)) < 3 * log**0.5,
            )
        )
    names = ("SELU, LeCun", "SELU, He")
    rates = {n: min(RATES, key=lambda rate, n=n: trained(n, rate, OTHER)) for n in names}
    ends = {n: [trained(n, rates[n], seed) for seed in SEEDS] for n in names}
    found.append(
        Found(
            f"SELU network of {HIDDEN + 2} layers: loss after {STEPS} steps under LeCun and He, "
            "medians",
            "lower under LeCun, under every seed",
            " and ".join(f"{median(e):.2f} ({min(e):.2f}–{max(e):.2f})" for e in ends.values()),
            max(ends["SELU, LeCun"]) < min(ends["SELU, He"]),
        )
    )
    draw(kept)
    said = ", ".join(f"{name.split()[1]} {rate:g}" for name, rate in rates.items())
    return found, (
        "The paper's theorem is about the mean over random weights. In a network of finite width, the "
        "mean square of an example also changes at random. Each layer reduces its distance from one "
        f"by a fifth. Learning rates, chosen from {', '.join(f'{rate:g}' for rate in RATES)}: {said}."
    )


def draw(kept: dict) -> None:
    """Mean and variance by layer, and the variance's way to one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    depth = range(1, DEPTH + 1)
    for name in CASES:
        left.plot(depth, kept[name][0], label=name)
        middle.plot(depth, kept[name][1], label=name)
    for index, (label, (mean, variance)) in enumerate(OTHERS.items()):
        should = predicted("SELU, LeCun", mean**2 + variance)[1]
        right.plot(depth[:30], should[:30], color=f"C{index + 3}", linewidth=1)
        now = kept[f"SELU, LeCun, input {label}"][1][:30]
        right.plot(depth[:30], now, ".", color=f"C{index + 3}", label=label)
    left.set_yscale("symlog", linthresh=0.1)
    left.set(title="mean", xlabel="layer")
    middle.set(title="variance", xlabel="layer", yscale="log")
    right.set(title="variance; SELU, LeCun", xlabel="layer")
    middle.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, fontsize=8, title="input's mean and variance", title_fontsize=8)
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
    save(figure, "lecun")


CLAIM = Claim(
    "lecun",
    "LeCun: SELU normalizes itself",
    "With SELU and LeCun's initialization, activations keep mean zero and variance one through "
    "a hundred layers. From other values they move to mean zero and variance one. With SELU and"
    " He's initialization they do not, and with ReLU and LeCun's initialization they do not.",
    "Klambauer et al. 2017, eq. 4 and 5, theorem 1; LeCun et al. 1998, section 4.6",
    f"{DEPTH} layers, {WIDTH} wide, {EXAMPLES} examples. On the right, lines are the paper's map"
    f" and dots are measured. A network of {HIDDEN + 2} layers, {NARROW} wide, on digits: Adam "
    f"at the best of {len(RATES)} learning rates (chosen with a separate seed), then "
    f"{len(SEEDS)} seeds.",
    run,
)

if __name__ == "__main__":
    main(CLAIM)
