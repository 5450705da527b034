"""Orthogonal weights: deep linear networks learn in a finite time, and 500 layers train.

python -m evidence.claims.orthogonal
"""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import pairwise
from statistics import median

import matplotlib.pyplot as plt
import torch
from evidence.claims import modes
from evidence.claims.claim import Claim, Found, main, save
from sklearn.datasets import load_digits
from torch import nn

import isoinit

COLORS = {"orthogonal": "tab:blue", "Gaussian": "tab:orange"}
# Deep linear networks.
DEPTHS = (3, 5, 10, 20, 50, 100)  # counted as in the paper: layers of units, one more than matrices
RATES = [3 * 1.43**-k for k in range(14)]  # times the number of matrices
WIDTH, LEFT, CAP, SEEDS = 64, 0.001, 150, (0, 1, 2)
# The convolutional network.
LAYERS, CHANNELS, SIZE, Q = 500, 16, 8, 0.025
ADAM, STEPS, TRIED = (1e-4, 1e-3, 1e-2), 80, 20
SLOWER = 4  # times as many steps, and more
HALF = math.log(10) / 2  # of the loss of chance


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """1,797 digits of 8×8 pixels, standardized, in a random order that is always the same."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    pixels = torch.tensor(data.images, dtype=torch.float32)[order]
    return (pixels - pixels.mean()) / pixels.std(), torch.tensor(data.target)[order]


def correlations() -> torch.Tensor:
    """Σ of targets and whitened inputs: all that a linear network sees of the data.

    With x whitened, E|y − Wx|² = |Σ − W|² + what no W explains (Saxe et al. 2014, section 1).
    Targets are standardized, so that the singular values of Σ, which W has to learn, are of order one.
    """
    pixels, labels = digits()
    x, y = pixels.flatten(1).double(), torch.eye(10, dtype=torch.float64)[labels]
    left, values, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    kept = values > 1e-6 * values[0]  # three pixels are never drawn on
    white = left[:, kept] * math.sqrt(len(x))
    return (((y - y.mean(0)) / y.std(0)).T @ white / len(x)).float()


def steps(sigma: torch.Tensor, depth: int, method: str, rate: float, seed: int, cap: int) -> float:
    """Steps of gradient descent until 0.1 % of what can be learned is left; nan if it diverges."""
    sizes = [sigma.shape[1], *[WIDTH] * (depth - 2), 10]
    model = nn.Sequential(*[nn.Linear(a, b, bias=False) for a, b in pairwise(sizes)])
    isoinit.init(model, torch.zeros(1, sizes[0]), seed, method=method)
    weights = [layer.weight for layer in model]
    optimizer = torch.optim.SGD(weights, rate, foreach=True)
    for step in range(cap):
        product = weights[-1]
        for weight in weights[-2::-1]:
            product = product @ weight
        loss = (product - sigma).square().sum() / 2
        left = 2 * loss.item() / sigma.square().sum().item()
        if not left < 1e4:
            return math.nan
        if left < LEFT:
            return step
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return math.inf


def fastest(sigma: torch.Tensor, depth: int, method: str, seed: int) -> tuple[float, float]:
    """The learning time at the best learning rate, and that rate (figure 6 A of the paper)."""
    best, at, slower = math.inf, math.nan, 0
    for scaled in RATES:  # from the largest to the smallest
        rate = scaled / (depth - 1)
        time = steps(sigma, depth, method, rate, seed, int(min(best, CAP)))
        if time < best:
            best, at, slower = time, rate, 0
        elif best < math.inf:
            slower += 1
        if slower == 3:  # smaller steps along the same way
            break
    return best, at


def linear() -> list[Found]:
    """Learning time by depth."""
    sigma, times, rates = correlations(), {}, {}
    for name, method in (("orthogonal", "orthogonal"), ("Gaussian", "lecun")):  # Var = 1/fan-in
        times[name], rates[name] = [], []
        for depth in DEPTHS:
            runs = [fastest(sigma, depth, method, seed) for seed in SEEDS]
            times[name].append(median(time for time, _ in runs))
            rates[name].append(median(rate for _, rate in runs))
            if times[name][-1] == math.inf:  # nor will deeper ones learn
                break
    draw_linear(times, rates)
    ours, theirs = times["orthogonal"], times["Gaussian"]
    shown = {
        name: "/".join(f"{t:.0f}" if t < math.inf else f"> {CAP}" for t in row)
        for name, row in times.items()
    }
    ratio = rates["orthogonal"][-1] / rates["orthogonal"][0]
    slope = math.log(ratio) / math.log((DEPTHS[-1] - 1) / (DEPTHS[0] - 1))
    depths = "/".join(map(str, DEPTHS))
    return [
        *exact(sigma),
        Found(
            f"learning time at the best rate, orthogonal: depth {DEPTHS[-1]} over {DEPTHS[-2]}",
            "about 1 (< 1.2): the delay is finite",
            f"{ours[-1] / ours[-2]:.2f} ({shown['orthogonal']} steps at depths {depths})",
            ours[-1] / ours[-2] < 1.2,
        ),
        Found(
            "the same, Gaussian: deepest over shallowest",
            "grows with depth (> 3)",
            f"> {min(theirs[-1], CAP) / theirs[0]:.0f} ({shown['Gaussian']} steps)",
            min(theirs[-1], CAP) / theirs[0] > 3,
        ),
        Found(
            "best learning rate, orthogonal: exponent of the number of matrices",
            "−1 (O(1/N)), within 0.2",
            f"{slope:.2f}",
            abs(slope + 1) < 0.2,
        ),
    ]


def exact(sigma: torch.Tensor) -> list[Found]:
    """Learning time where the modes are decoupled, beside the exact solution."""
    sigma = modes.contrasts(sigma)
    ours = [modes.measured(sigma, depth - 1) for depth in DEPTHS]
    theirs = [modes.predicted(sigma, depth - 1) for depth in DEPTHS]
    off = max(abs(a / b - 1) for a, b in zip(ours, theirs, strict=True))
    shown = ["/".join(f"{steps:.0f}" for steps in row) for row in (ours, theirs)]
    return [
        Found(
            f"learning time from decoupled modes, orthogonal, rate {modes.SCALED:g}/N, by depth",
            f"{shown[1]} steps (the exact solution), within 3 %",
            f"{shown[0]} (at most {off:.1%} off)",
            off < 0.03,
        ),
        Found(
            f"the same, depth {DEPTHS[-1]} over depth {DEPTHS[0]}: the limit is finite",
            f"{theirs[-1] / theirs[0]:.2f} (within 3 %)",
            f"{ours[-1] / ours[0]:.2f}",
            abs(ours[-1] / ours[0] * theirs[0] / theirs[-1] - 1) < 0.03,
        ),
    ]


def moment(power: int) -> float:
    """E[φ'(√q z)^power] or E[φ²] for power 0, by isoinit's gain: E[f²] = gain(f)^−2."""
    size = math.sqrt(Q)
    if not power:
        return isoinit.gain(lambda z: torch.tanh(size * z)) ** -2
    return isoinit.gain(lambda z: (1 - torch.tanh(size * z) ** 2) ** (power / 2)) ** -2


def critical() -> tuple[float, float]:
    """σ_w² and σ_b² on the edge of chaos: χ = σ_w² E[φ'²] = 1 and q = σ_w² E[φ²] + σ_b².

    Xiao et al. 2018, section 2; q is small, for there tanh is nearly linear. The paper's 1.05 and
    2.01·10⁻⁵ are those of q = 0.0258.
    """
    weight = 1 / moment(2)
    return weight, Q - weight * moment(0)


def convolutional(name: str, seed: int) -> nn.Sequential:
    """Convolutions over the rows of an image, its columns the first channels; no norm, no skip."""
    body = [
        part
        for count in (SIZE, *[CHANNELS] * (LAYERS - 1))
        for part in (
            nn.Conv1d(count, CHANNELS, 3, padding=1, padding_mode="circular"),
            nn.Tanh(),
        )
    ]
    parts = {"body": nn.Sequential(*body), "flat": nn.Flatten()}
    model = nn.Sequential(OrderedDict(parts | {"head": nn.Linear(CHANNELS * SIZE, 10)}))
    weight, bias = critical()
    kind = {"orthogonal": isoinit.DeltaOrthogonal, "Gaussian": isoinit.LeCunNormal}[name]
    # The first layer brings pixels of variance one to q. Its orthogonal columns keep the length and
    # spread it over more channels.
    spread = CHANNELS / SIZE if name == "orthogonal" else 1
    overrides = {
        "body.*.weight": kind(math.sqrt(weight)),
        "body.0.weight": kind(math.sqrt(Q * spread)),
        "body.*.bias": isoinit.Normal(std=math.sqrt(bias)),
        "head.weight": isoinit.LeCunNormal(),
    }
    isoinit.init(model, torch.zeros(1, SIZE, SIZE), seed, overrides=overrides)
    return model


def jacobian(model: nn.Sequential, image: torch.Tensor) -> torch.Tensor:
    """Singular values of ∂(last layer)/∂(first layer), in double precision."""
    body = model.body.double()
    start = body[:2](image.double())
    starts = start.detach().expand(start.numel(), -1, -1).clone().requires_grad_()
    ends = body[2:](starts)  # one copy for each row of the Jacobian
    ends.flatten(1).diagonal().sum().backward()
    model.float()
    return torch.linalg.svdvals(starts.grad.flatten(1))


def train(name: str, rate: float, count: int, seed: int) -> tuple[list[float], float]:
    """The loss at every step, and the accuracy on the fifth that is kept for testing."""
    images, labels = digits()
    held, model = len(images) // 5, convolutional(name, seed)
    optimizer = torch.optim.Adam(model.parameters(), rate, foreach=True)
    draws, losses = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        batch = torch.randint(held, len(images), (64,), generator=draws)
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        right = model(images[:held]).argmax(1) == labels[:held]
    return losses, right.float().mean().item()


def until(losses: list[float]) -> float:
    """The first step at which the mean of eight losses is half of what chance has; inf if none is."""
    means = [sum(losses[i : i + 8]) / 8 for i in range(len(losses) - 7)]
    return next((i for i, mean in enumerate(means) if mean < HALF), math.inf)


def deep() -> list[Found]:
    """500 convolutions."""
    image = digits()[0][:1]
    values, curves, scores, best = {}, {}, {}, {}
    for name in COLORS:
        values[name] = jacobian(convolutional(name, 0), image)
        tried = {rate: train(name, rate, TRIED, 1)[0] for rate in ADAM}  # on another seed
        best[name] = min(tried, key=lambda rate, tried=tried: sum(tried[rate][-5:]))
        count = STEPS if name == "orthogonal" else SLOWER * STEPS
        curves[name], scores[name] = train(name, best[name], count, 0)
    draw_deep(values, curves, best)
    needed = {name: until(curve) for name, curve in curves.items()}
    shown = f"{needed['Gaussian']:.0f}" if needed["Gaussian"] < math.inf else f"> {SLOWER * STEPS}"
    squared = values["orthogonal"].square()
    # Pennington et al. 2017: orthogonal weights give σ²_JJᵀ = L (μ₂/μ₁² − 1), with μ_k = E[φ'^2k];
    # the mean is χ^L = 1.
    spread = math.sqrt((LAYERS - 1) * (moment(4) / moment(2) ** 2 - 1))
    # Products of complex Gaussian n×n matrices of variance 1/n: the i-th singular value changes by
    # exp(½(ψ(n − i + 1) − ln n)) a factor (Forrester 2013). A circular convolution is one such matrix
    # for each frequency.
    rates = [
        (torch.special.digamma(torch.tensor(i + 1.0)).item() - math.log(CHANNELS)) / 2
        for i in range(CHANNELS)
    ]
    apart = (LAYERS - 1) * (max(rates) - median(rates)) / math.log(10)
    gaussian = values["Gaussian"]
    found = math.log10(gaussian.max() / gaussian.median().clamp(min=1e-300))
    return [
        Found(
            f"squared singular values of the Jacobian of {LAYERS} layers, delta-orthogonal: mean",
            "1 (χ = 1), within a factor 2",
            f"{squared.mean():.2f}",
            0.5 < squared.mean() < 2,
        ),
        Found(
            "their standard deviation",
            f"{spread:.2f} (√(L(μ₂/μ₁² − 1))), within a factor 2",
            f"{squared.std():.2f}",
            0.5 < squared.std() / spread < 2,
        ),
        Found(
            "largest over median singular value, Gaussian",
            f"10^{apart:.0f}: beyond the 10^15 that doubles resolve",
            f"10^{found:.0f}",
            found > 14,
        ),
        Found(
            f"accuracy of {LAYERS} layers on new digits after {STEPS} steps, delta-orthogonal",
            "trains (> 80 %)",
            f"{scores['orthogonal']:.1%} (Adam, rate {best['orthogonal']:g})",
            scores["orthogonal"] > 0.8,
        ),
        Found(
            f"steps until the loss is half of chance, {HALF:.2f}: delta-orthogonal and Gaussian",
            f"Gaussian weights take more than {SLOWER} times as many",
            f"{needed['orthogonal']:.0f}, and {shown}",
            needed["Gaussian"] > SLOWER * needed["orthogonal"],
        ),
    ]


def draw_linear(times: dict[str, list[float]], rates: dict[str, list[float]]) -> None:
    """Learning time and best learning rate by depth."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
    for name, color in COLORS.items():
        row = [min(time, CAP) for time in times[name]]
        depths = DEPTHS[: len(row)]
        left.loglog(depths, row, "o-", color=color, label=name)
        if times[name][-1] == math.inf:
            left.annotate(
                f"more than {CAP}", (depths[-1], CAP), (6, -4), textcoords="offset points"
            )
        right.loglog([d - 1 for d in depths], rates[name], "o-", color=color, label=name)
    layers = [depth - 1 for depth in DEPTHS]
    one = rates["orthogonal"][0] * layers[0]
    right.loglog(layers, [one / n for n in layers], "k:", label="1/N")
    left.set(xlabel="depth", ylabel="steps until learned", ylim=(3, 2 * CAP))
    right.set(xlabel="matrices N", ylabel="best learning rate")
    for axes in (left, right):
        axes.legend(frameon=False)
    save(figure, "orthogonal-linear")
    plt.close(figure)


def draw_deep(
    values: dict[str, torch.Tensor], curves: dict[str, list[float]], best: dict[str, float]
) -> None:
    """Singular values of the Jacobian, and the loss by step."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
    for name, color in COLORS.items():
        label = "delta-orthogonal" if name == "orthogonal" else name
        left.semilogy(range(1, len(values[name]) + 1), values[name], color=color, label=label)
        right.plot(curves[name], color=color, label=f"{label}, rate {best[name]:g}")
    right.axhline(math.log(10), color="k", ls=":", label="chance")
    left.set(xlabel="number", ylabel="singular value of the Jacobian")
    right.set(xlabel="step", ylabel="loss", ylim=(0, 3.5))
    for axes in (left, right):
        axes.legend(frameon=False, fontsize="small")
    save(figure, "orthogonal-convolutions")
    plt.close(figure)


def run() -> tuple[list[Found], str]:
    """Both parts."""
    return linear() + deep(), REMARK


REMARK = (
    "At the best rate of each depth, from weights whose modes are not decoupled, the "
    "shallowest network is the quickest by more than the exact solution says: a few large "
    "steps do there, which no differential equation describes. From there on the time grows "
    "ever more slowly. Gaussian weights leave of the input of 500 layers about one direction, "
    "as the ratio of the singular values says. One number tells some digits from others, so "
    "that they learn something; they are only far slower, as Pennington et al. found."
)

CLAIM = Claim(
    name="orthogonal",
    title="Orthogonal: learning time stays finite as depth grows",
    claim="The learning time of deep linear networks with orthogonal weights tends to a finite limit "
    "as depth grows, where that of Gaussian ones grows on. A tanh CNN of 500 layers without norm "
    "layers and skips trains from delta-orthogonal kernels, several times as fast as from Gaussian "
    "ones.",
    paper="Saxe, McClelland & Ganguli 2014, section 2.2 and figure 6; Pennington, Schoenholz & "
    "Ganguli 2017, section 3; Xiao et al. 2018",
    setting=f"Digits of scikit-learn. Linear: whitened pixels, standardized targets, {WIDTH} units a "
    f"layer, depths {DEPTHS[0]} to {DEPTHS[-1]}, full-batch gradient descent until 0.1 % of what "
    f"can be learned is left, the fastest of {len(RATES)} rates, median of {len(SEEDS)} seeds; "
    "`method='orthogonal'` beside `method='lecun'`. Decoupled modes: as many units as inputs, the "
    "last matrix turned to the singular vectors of the data, one c/N for all depths. "
    f"Convolutional: {LAYERS} circular "
    f"convolutions over the rows of an image, {CHANNELS} channels, on the edge of chaos at q = "
    f"{Q}, biases too; Adam, batches of 64, the best of {len(ADAM)} rates after {TRIED} steps on "
    "another seed.",
    run=run,
)

if __name__ == "__main__":
    main(CLAIM)
