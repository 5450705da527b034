"""Xavier: under tanh activations and gradients keep their spread; under ReLU they do not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from evidence.claims.claim import Claim, Found, main, save
from evidence.claims.tasks import classified, digits
from torch import nn
from torch.nn.functional import cross_entropy

import isoinit

LAYERS, UNITS, BATCH = 5, 1000, 300
# The paper's "standard" (eq. 1) and "normalized" (eq. 16) initializations, biases at zero.
STANDARD = isoinit.Uniform(-1 / UNITS**0.5, 1 / UNITS**0.5)
NORMALIZED = isoinit.XavierUniform()
DEEP, WIDE, STEPS = 20, 128, 150


def network(
    activation: type[nn.Module], initializer: isoinit.Initializer, depth: int, width: int
) -> nn.Sequential:
    """Hidden layers of one width between 64 pixels and 10 classes."""
    sizes = [64, *[width] * depth]
    hidden = [m for pair in pairwise(sizes) for m in (nn.Linear(*pair), activation())]
    model = nn.Sequential(*hidden, nn.Linear(width, 10))
    x, _ = digits()
    isoinit.init(
        model, x[:BATCH], 0, overrides={"*.weight": initializer, "*.bias": isoinit.Zeros()}
    )
    return model


def signals(model: nn.Sequential) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The activations of each hidden layer, and the gradients of the loss by them."""
    x, y = digits()
    x, kept = x[:BATCH], []
    for layer in model:
        x = layer(x)
        if not isinstance(layer, nn.Linear):
            x.retain_grad()
            kept.append(x)
    cross_entropy(x, y[:BATCH]).backward()
    return [k.detach() for k in kept], [k.grad for k in kept]


def ratio(values: list[torch.Tensor]) -> float:
    """The spread of the last hidden layer by that of the first."""
    return (values[-1].std() / values[0].std()).item()


def trained(make: Callable[[], nn.Module], rates: tuple[float, ...]) -> float:
    """The loss after some steps of Adam, at the best of some learning rates."""
    ends = []
    for rate in rates:
        model = make()
        optimizer = torch.optim.Adam(model.parameters(), rate)
        losses = []
        for step in range(STEPS):
            x, loss = classified(step)
            value = loss(model(x))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(value.item())
        ends.append(sum(losses[-10:]) / 10)
    return min(ends)


def run() -> tuple[list[Found], str]:
    """The paper's network under both initializations, then a deep one under ReLU."""
    # Backward a gradient's variance is multiplied by fan-out times the weights' variance: a third
    # under the standard initialization, one under the normalized (eq. 6); tanh takes a little more.
    kept = {name: signals(network(nn.Tanh, start, LAYERS, UNITS)) for name, start in BOTH.items()}
    third = 3 ** (-(LAYERS - 1) / 2)
    forward = {name: ratio(found[0]) for name, found in kept.items()}
    backward = {name: 1 / ratio(found[1]) for name, found in kept.items()}
    deep = {
        name: network(nn.ReLU, start, DEEP, WIDE)
        for name, start in {"Xavier": isoinit.XavierNormal(), "He": isoinit.HeNormal()}.items()
    }
    sizes = {name: [v.square().mean().item() for v in signals(m)[0]] for name, m in deep.items()}
    halves = {name: (s[-1] / s[0]) ** (1 / (DEEP - 1)) for name, s in sizes.items()}
    rates = (3e-4, 1e-3, 3e-3)
    loss = {
        "Xavier": trained(lambda: network(nn.ReLU, isoinit.XavierNormal(), DEEP, WIDE), rates),
        "He": trained(lambda: network(nn.ReLU, isoinit.HeNormal(), DEEP, WIDE), rates),
    }
    draw(kept)
    return [
        Found(
            f"gradients at layer 1 by those at layer {LAYERS}, standard",
            f"about {third:.2f} (1/√3 a layer), below 0.2",
            f"{backward['standard']:.3f}",
            backward["standard"] < 0.2,
        ),
        Found(
            "the same, normalized",
            "about 1, between 0.5 and 1.5",
            f"{backward['normalized']:.2f}",
            0.5 < backward["normalized"] < 1.5,
        ),
        Found(
            f"activations at layer {LAYERS} by those at layer 1, standard",
            f"about {third:.2f} (1/√3 a layer), below 0.3",
            f"{forward['standard']:.2f}",
            forward["standard"] < 0.3,
        ),
        Found(
            "the same, normalized",
            "about 1, between 0.5 and 1.5 (tanh takes a little at each layer)",
            f"{forward['normalized']:.2f}",
            0.5 < forward["normalized"] < 1.5,
        ),
        Found(
            f"under ReLU, {DEEP} layers: the mean square's factor a layer, Xavier and He",
            "0.5 and 1, within 0.1",
            f"{halves['Xavier']:.2f} and {halves['He']:.2f}",
            abs(halves["Xavier"] - 0.5) < 0.1 and abs(halves["He"] - 1) < 0.1,
        ),
        Found(
            f"the same networks: loss after {STEPS} steps, Xavier and He",
            "higher under Xavier",
            f"{loss['Xavier']:.2f} and {loss['He']:.2f}",
            loss["Xavier"] > loss["He"],
        ),
    ], ""


BOTH = {"standard": STANDARD, "normalized": NORMALIZED}


def draw(kept: dict) -> None:
    """Histograms by layer, as the paper's figures 6 and 7."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    grid = figure.subplots(2, 2, sharex="row")
    for column, (name, found) in enumerate(kept.items()):
        for row, (values, what) in enumerate(zip(found, ("activations", "gradients"), strict=True)):
            axes = grid[row][column]
            limit = (
                1.0 if row == 0 else 3 * max(v.std().item() for f in kept.values() for v in f[1])
            )
            for layer, value in enumerate(values, 1):
                counts = torch.histc(value, 61, -limit, limit)
                places = torch.linspace(-limit, limit, 61)
                axes.plot(places, counts / counts.sum(), linewidth=1, label=f"layer {layer}")
            axes.set(title=f"{what}, {name}", yticks=[], ylim=(0, 0.25 if row else 0.12))
    grid[0][0].legend(frameon=False, fontsize=7)
    save(figure, "xavier")


CLAIM = Claim(
    "xavier",
    "Xavier: the signal keeps its spread under tanh",
    "Under the normalized initialization activations and gradients of a tanh network have the same "
    "spread at every layer, and under the standard one they shrink; under ReLU it is not enough.",
    "Glorot & Bengio 2010, figures 6 and 7, eq. 1 and 16; He et al. 2015, section 2.2",
    f"The paper's network, {LAYERS} hidden layers of {UNITS} tanh units, on {BATCH} digits "
    f"(the paper's: generated shapes); ReLU networks of {DEEP} layers, {WIDE} wide, trained at the "
    "best of three learning rates.",
    run,
)

if __name__ == "__main__":
    main(CLAIM)
