"""Memory: orthogonal or identity recurrent weights keep it for long, and open forget gates do."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median

import torch
from evidence.claims.claim import Claim, Found, main, save
from torch import nn

import isoinit

STEPS, UNITS = 200, 64
LENGTH, BATCH, TRAINED, SEEDS, OTHER = 100, 32, 700, range(3), 100
RATES = (1e-3, 3e-3)
# The target is the sum of two uniform numbers; who always says 1, its mean, is off by their variance,
# 2/12 (Le et al. 2015 and Arjovsky et al. 2016 count 0.167).
BASELINE = 2 / 12
Start = Callable[[nn.Module, int], None]


class Adder(nn.Module):
    """A recurrent network that says one number after the last step."""

    def __init__(self, nonlinearity: str) -> None:
        super().__init__()
        self.memory = nn.RNN(2, UNITS, nonlinearity=nonlinearity, batch_first=True)
        self.head = nn.Linear(UNITS, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One number an example."""
        return self.head(self.memory(x)[0][:, -1])[:, 0]


def added(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random numbers, two of them marked, one in each half; and the sum of these two."""
    values = torch.rand(BATCH, LENGTH, generator=generator)
    marks = torch.zeros(BATCH, LENGTH)
    half = LENGTH // 2
    for first in (0, half):
        places = first + torch.randint(half, (BATCH, 1), generator=generator)
        marks.scatter_(1, places, 1.0)
    return torch.stack([values, marks], -1), (values * marks).sum(1)


def default(model: nn.Module, seed: int) -> None:
    """As torch starts it: everything uniform within ±1/√units."""
    torch.manual_seed(seed)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


def identity(model: nn.Module, seed: int) -> None:
    """The recurrent weights the identity, as a plan has it under ReLU; small input weights."""
    overrides = {"memory.weight_ih_l0": isoinit.Normal(std=0.1)}
    example = torch.zeros(1, LENGTH, 2)
    plan = isoinit.plan(model, example, overrides=overrides)
    assert isinstance(plan["memory.weight_hh_l0"].initializer, isoinit.Identity)
    plan.apply(model, seed)


METHODS: dict[str, tuple[str, Start]] = {
    "tanh, torch's default": ("tanh", default),
    "ReLU, torch's default": ("relu", default),
    "ReLU, identity": ("relu", identity),
}


def train(method: str, rate: float, seed: int, steps: int) -> list[float]:
    """The losses of a training with Adam, gradients clipped at 1."""
    kind, start = METHODS[method]
    model = Adder(kind)
    start(model, seed)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(steps):
        x, y = added(generator)
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def end(losses: list[float]) -> float:
    """The mean of the last fifty steps."""
    return sum(losses[-50:]) / 50


def kept(model: nn.RNNBase) -> list[float]:
    """The gradient of the last state by that of each step before, in size; 1 at the end.

    The input is so small that functions are straight, as the predictions have it; in double
    precision.
    """
    model = model.double()
    generator = torch.Generator().manual_seed(0)
    x = 1e-4 * torch.randn(STEPS, 1, model.input_size, generator=generator, dtype=torch.float64)
    state: torch.Tensor | None = None
    cell = torch.zeros(1, 1, UNITS, dtype=torch.float64)
    hidden = torch.zeros(1, 1, UNITS, dtype=torch.float64)
    states = []
    for step in range(STEPS):
        state = cell if isinstance(model, nn.LSTM) else hidden
        state = state.detach().requires_grad_() if step == 0 else state
        state.retain_grad()
        states.append(state)
        if isinstance(model, nn.LSTM):
            _, (hidden, cell) = model(x[step : step + 1], (hidden, state))
        else:
            _, hidden = model(x[step : step + 1], state)
    last = cell if isinstance(model, nn.LSTM) else hidden
    last.backward(torch.randn(last.shape, generator=generator, dtype=torch.float64))
    sizes = [s.grad.norm().item() for s in states]
    return [size / sizes[-1] for size in sizes]


def gaussian(variance: float) -> nn.RNN:
    """A tanh network with recurrent weights of a variance times the fan-in."""
    model = nn.RNN(8, UNITS)
    std = (variance / UNITS) ** 0.5
    example = torch.zeros(5, 1, 8)
    isoinit.init(model, example, 0, overrides={"weight_hh_l0": isoinit.Normal(std=std)})
    return model


def planned(model: nn.RNNBase, **overrides: isoinit.Initializer) -> nn.RNNBase:
    """As planned: orthogonal gates, and an LSTM's forget gate at one."""
    isoinit.init(model, torch.zeros(5, 1, 8), 0, overrides=overrides)
    return model


def left(gate: float, radius: float, back: int, *, normal: bool) -> float:
    """What is left of a cell's gradient after so many steps back, as a power of ten.

    For small signals a step back multiplies it by f + i·o·W: the forget gate, and the way over the
    output through the weights W of the candidate, with f = σ(b) and i = o = 1/2. Eigenvalues of W lie
    within a circle of this radius (Girko's law for independent entries), or on it for an orthogonal
    matrix, where the mean square over directions is that over the circle.
    """
    if not normal:
        return back * math.log10(gate + radius / 4)
    angles = torch.linspace(0, 2 * math.pi, 10001, dtype=torch.float64)[:-1]
    sizes = (gate**2 + radius**2 / 16 + gate * radius / 2 * angles.cos()).sqrt()
    return math.log10((sizes ** (2 * back)).mean().sqrt().item())


def gradients() -> tuple[list[Found], dict[str, list[float]]]:
    """What is left of a gradient after so many steps back."""
    torch.manual_seed(0)
    curves = {
        "RNN, torch's default": kept(nn.RNN(8, UNITS)),
        "RNN, Gaussian, σ_w² = 1": kept(gaussian(1.0)),
        "RNN, orthogonal": kept(planned(nn.RNN(8, UNITS))),
        "LSTM, torch's default": kept(nn.LSTM(8, UNITS)),
        "LSTM, planned": kept(planned(nn.LSTM(8, UNITS))),
    }
    powers = {name: math.log10(curve[0]) for name, curve in curves.items()}
    # U(±1/√n) has the variance 1/(3n), which makes the radius 1/√3.
    back, small = STEPS - 1, 3**-0.5
    open_gate = 1 / (1 + math.exp(-1))
    expected = {
        "RNN, torch's default": (back * math.log10(small), "1/√3 a step"),
        "RNN, orthogonal": (0.0, "1 a step"),
        "LSTM, torch's default": (left(0.5, small, back, normal=False), "σ(0) + 1/(4√3) a step"),
        "LSTM, planned": (left(open_gate, 1.0, back, normal=True), "σ(1) + e^iθ/4 a step"),
    }
    found = [
        Found(
            f"{name}: gradient left {back} steps back",
            f"{why}: 10^{power:.1f}, within a fifth of the exponent, or 0.3",
            f"10^{powers[name]:.1f}",
            abs(powers[name] - power) < max(0.2 * abs(power), 0.3),
        )
        for name, (power, why) in expected.items()
    ]
    return found, curves


def run() -> tuple[list[Found], str]:
    """The adding task, and gradients over many steps."""
    curves, ends, rates = {}, {}, {}
    for method in METHODS:
        tried = {rate: end(train(method, rate, OTHER, TRAINED // 2)) for rate in RATES}
        rates[method] = min(tried, key=tried.__getitem__)
        curves[method] = [train(method, rates[method], seed, TRAINED) for seed in SEEDS]
        ends[method] = median(map(end, curves[method]))
    found = [
        Found(
            f"adding, {LENGTH} steps: mean square error after {TRAINED} steps, {method}",
            f"no better than saying 1: above 0.9 of {BASELINE:.3f}"
            if "default" in method
            else f"learned: below a half of {BASELINE:.3f}",
            f"{ends[method]:.4f}",
            ends[method] > 0.9 * BASELINE if "default" in method else ends[method] < BASELINE / 2,
        )
        for method in METHODS
    ]
    more, back = gradients()
    draw(curves, back)
    said = ", ".join(f"{method} {rate:g}" for method, rate in rates.items())
    return found + more, (
        f"Learning rates, chosen with a separate seed: {said}. The picture also has a Gaussian "
        "recurrent matrix of variance 1/n: its gradient vanishes slowly."
    )


def draw(curves: dict[str, list[list[float]]], back: dict[str, list[float]]) -> None:
    """The loss of the adding task by step; the gradient by distance."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for method, runs in curves.items():
        smooth = torch.tensor(runs).unfold(1, 25, 1).mean(2)
        x = range(smooth.shape[1])
        left.plot(x, smooth.median(0).values, label=method)
        left.fill_between(x, smooth.min(0).values, smooth.max(0).values, alpha=0.2)
    left.axhline(BASELINE, color="gray", linestyle="--", linewidth=1)
    left.set(title="adding task", xlabel="step of training", ylabel="error", ylim=(0, 0.4))
    left.legend(frameon=False, fontsize=7)
    for name, curve in back.items():
        right.plot(range(STEPS - 1, -1, -1), curve, label=name)
    right.set(title="gradient left", xlabel="steps back", yscale="log", ylim=(1e-70, 10))
    right.legend(frameon=False, fontsize=7)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    save(figure, "memory")


CLAIM = Claim(
    "memory",
    "Memory: orthogonal and identity recurrent weights",
    "If recurrent weights are orthogonal or the identity, or forget gates are open, the "
    "gradient comes back through hundreds of steps. Otherwise it vanishes. This decides whether"
    " a network learns long tasks.",
    "Le, Jaitly & Hinton 2015; Saxe et al. 2014; Jozefowicz et al. 2015",
    f"The adding task over {LENGTH} time steps, with {UNITS} units: {TRAINED} steps of Adam with"
    f" gradients clipped at norm 1, the better of {len(RATES)} learning rates, {len(SEEDS)} "
    f"seeds. Gradients over {STEPS} time steps are those of untrained networks on small inputs, "
    "in double precision.",
    run,
)

if __name__ == "__main__":
    main(CLAIM)
