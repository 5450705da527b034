"""Zero: units that start alike stay alike; biases at zero do no harm."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean, stdev

import torch
from evidence.claims.claim import Claim, Found, main, save
from evidence.claims.tasks import classified, digits
from torch import nn

import isoinit

WIDTH, STEPS, SEEDS = 64, 300, range(5)


def network() -> nn.Sequential:
    """One hidden layer; tanh, so that a constant start is not cut off by a flat part."""
    return nn.Sequential(nn.Linear(64, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 10))


def constant(value: float) -> Callable[[int], nn.Module]:
    """Every weight the same, every bias zero."""

    def start(seed: int) -> nn.Module:
        overrides = {"*.weight": isoinit.Constant(value), "*.bias": isoinit.Zeros()}
        model = network()
        isoinit.init(model, digits()[0][:64], seed, overrides=overrides)
        return model

    return start


def planned(seed: int, bias: isoinit.Initializer | None = None) -> nn.Module:
    """As planned, with zero biases, or with others."""
    model = network()
    overrides = {"*.bias": bias} if bias else {}
    isoinit.init(model, digits()[0][:64], seed, overrides=overrides)
    return model


def train(model: nn.Module) -> float:
    """Train with Adam; the accuracy in percent."""
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(STEPS):
        x, loss = classified(step)
        optimizer.zero_grad()
        loss(model(x)).backward()
        optimizer.step()
    x, y = digits()
    with torch.no_grad():
        return 100 * (model(x).argmax(1) == y).float().mean().item()


def apart(model: nn.Module) -> float:
    """How far the hidden units are from the first one at most: what feeds them, and what they feed."""
    first, last = model[0], model[2]
    own = torch.cat([first.weight, first.bias[:, None], last.weight.T], 1).detach()
    return (own - own[0]).abs().max().item()


def run() -> tuple[list[Found], str]:
    """Train from constants, and from random weights with zero and with random biases."""
    found, curves = [], {}
    for value in (0.0, 0.1):
        model = constant(value)(0)
        names = {f.name for f in isoinit.check(model, digits()[0][:256]).findings}
        accuracy = train(model)
        curves[f"all weights {value:g}"] = model[0].weight.detach()
        found.append(
            Found(
                f"all weights {value:g}: largest difference between hidden units after {STEPS} steps",
                "0 exactly: equal units get equal gradients",
                f"{apart(model):g}; accuracy {accuracy:.0f} %",
                apart(model) == 0,
            )
        )
        found.append(
            Found(
                f"all weights {value:g}: `isoinit.check` before training",
                "finds the symmetry",
                ", ".join(sorted(names)),
                "symmetry" in names,
            )
        )
    one = train(_narrow())
    zero = [train(planned(seed)) for seed in SEEDS]
    drawn = [train(planned(seed, isoinit.Normal(std=0.1))) for seed in SEEDS]
    model = planned(0)
    train(model)
    curves["planned, biases 0"] = model[0].weight.detach()
    noise = 2 * ((stdev(zero) ** 2 + stdev(drawn) ** 2) / len(zero)) ** 0.5
    found += [
        Found(
            "accuracy of 64 units that start at 0.1, beside that of a single unit, planned",
            "no more than 10 points above: 64 equal units are one",
            f"{train(constant(0.1)(0)):.0f} % and {one:.0f} %",
            train(constant(0.1)(0)) < one + 10,
        ),
        Found(
            "random weights, biases at zero, beside random biases (std 0.1)",
            "as good, within two standard errors",
            f"{mean(zero):.2f} % and {mean(drawn):.2f} % (noise {noise:.2f})",
            mean(zero) > mean(drawn) - noise,
        ),
    ]
    draw(curves)
    return found, (
        "At zero everywhere nothing but the last bias has a gradient: the hidden layer passes nothing "
        "forward and the last layer nothing back. That is why a zero at the end of a residual branch "
        "does no harm, where the sum goes on around it, and one in a chain does."
    )


def _narrow() -> nn.Module:
    """The same network with one hidden unit."""
    model = nn.Sequential(nn.Linear(64, 1), nn.Tanh(), nn.Linear(1, 10))
    isoinit.init(model, digits()[0][:64], 0)
    return model


def draw(weights: dict[str, torch.Tensor]) -> None:
    """What each hidden unit looks for after training: a column a pixel, a row a unit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.8), layout="constrained")
    for axes, (name, weight) in zip(figure.subplots(1, len(weights)), weights.items(), strict=True):
        axes.imshow(weight[:24, 20:44].numpy(), cmap="RdBu", vmin=-0.4, vmax=0.4, rasterized=True)
        axes.set(
            title=name, xlabel="some of the pixels", ylabel="hidden unit", xticks=[], yticks=[]
        )
    figure.suptitle("weights of the first layer after training")
    save(figure, "zero")


CLAIM = Claim(
    "zero",
    "Zero: symmetry stays, and biases do no harm",
    "Units that start with equal weights stay equal through all of training, so a layer of them "
    "learns what one unit could; biases may start at zero, since the weights already differ.",
    "Rumelhart, Hinton & Williams 1986; Glorot & Bengio 2010, section 2.3",
    f"Digits, a network 64-{WIDTH}-10 with tanh, {STEPS} steps of Adam.",
    run,
)

if __name__ == "__main__":
    main(CLAIM)
