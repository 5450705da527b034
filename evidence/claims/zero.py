"""Zero: units that start alike stay alike; biases at zero, and the end of a branch, do no harm."""

from __future__ import annotations

from statistics import mean, stdev

import torch
from evidence.claims.claim import Claim, Found, main, save
from torch import nn
from torch.nn.functional import cross_entropy

import isoinit
from isoinit.cli.demo import load_digits

WIDTH, STEPS, BATCH, SEEDS, BLOCKS = 64, 250, 64, range(5), 4
ROUNDING = 1e-4
DIGITS = load_digits()
X = DIGITS.train_x[:BATCH]


def network(width: int = WIDTH) -> nn.Sequential:
    """One hidden layer; tanh, so that a constant start is not cut off by a flat part."""
    return nn.Sequential(nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 10))


class Branches(nn.Module):
    """A residual network: each branch is added to what goes around it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
            for _ in range(BLOCKS)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits."""
        x = self.first(x)
        for branch in self.branches:
            x = x + branch(x)
        return self.head(x)


def started(model: nn.Module, seed: int, **overrides: isoinit.Initializer) -> nn.Module:
    """As planned, but for what is named: `weight`, `bias`, or `end`, the last weight of a branch."""
    names = {"weight": "*.weight", "bias": "*.bias", "end": "branches.*.2.weight"}
    isoinit.init(model, X, seed, overrides={names[k]: v for k, v in overrides.items()})
    return model


def train(model: nn.Module) -> float:
    """Train with Adam; the accuracy on held-out digits, in percent."""
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    chosen = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        rows = torch.randint(len(DIGITS.train_x), (BATCH,), generator=chosen)
        loss = cross_entropy(model(DIGITS.train_x[rows]), DIGITS.train_y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = model(DIGITS.test_x).argmax(1) == DIGITS.test_y
    return 100 * right.float().mean().item()


def apart(model: nn.Sequential) -> float:
    """How far hidden units are from the first one at most: what feeds them, and what they feed."""
    first, last = model[0], model[2]
    own = torch.cat([first.weight, first.bias[:, None], last.weight.T], 1).detach()
    return (own - own[0]).abs().max().item()


def folded(model: nn.Sequential) -> nn.Sequential:
    """One hidden unit in place of all: the first of them, with what all of them say together."""
    one = network(1)
    with torch.no_grad():
        one[0].weight.copy_(model[0].weight[:1])
        one[0].bias.copy_(model[0].bias[:1])
        one[2].weight.copy_(model[2].weight.sum(1, keepdim=True))
        one[2].bias.copy_(model[2].bias)
    return one


def alike(what: str, model: nn.Sequential) -> tuple[list[Found], float]:
    """Check and train a network of equal units: what was found, and its accuracy."""
    names = sorted({f.name for f in isoinit.check(model, DIGITS.train_x[:256]).findings})
    accuracy = train(model)
    with torch.no_grad():
        off = (folded(model)(DIGITS.test_x) - model(DIGITS.test_x)).abs().max().item()
    rank = int(torch.linalg.matrix_rank(model[0].weight.detach()))
    most = max(model[i].weight.abs().max().item() for i in (0, 2))
    # Equal units get equal gradients at every step. At zero neither layer's weights get any: both
    # gradients are products with a factor of zero, and the last bias alone learns.
    stuck = what.endswith(" 0")
    return [
        Found(
            f"{what}: largest difference between hidden units after {STEPS} steps",
            "0 exactly",
            f"{apart(model):g}",
            apart(model) == 0,
        ),
        Found(
            f"{what}: rank of the hidden layer, and largest weight",
            "0 and 0: no weight has moved" if stuck else "1, as of one unit, and not 0",
            f"{rank} and {most:.3g}",
            rank == (0 if stuck else 1) and (most == 0) == stuck,
        ),
        Found(
            f"{what}: logits, beside those of the same network folded into one unit",
            f"equal up to rounding: within {ROUNDING:g}",
            f"off by {off:.1g}",
            off < ROUNDING,
        ),
        Found(f"{what}: `isoinit.check`", "symmetry", ", ".join(names), "symmetry" in names),
    ], accuracy


def compared(what: str, one: list[float], other: list[float]) -> Found:
    """Whether the first is as good as the second."""
    noise = 2 * ((stdev(one) ** 2 + stdev(other) ** 2) / len(one)) ** 0.5
    return Found(
        what,
        "as good: no lower by more than two standard errors",
        f"{mean(one):.1f} % and {mean(other):.1f} % (two standard errors {noise:.1f})",
        mean(one) > mean(other) - noise,
    )


def run() -> tuple[list[Found], str]:
    """Train from constants; from random weights with zero biases; and with branches that end at 0."""
    model = network()
    isoinit.init(model, X, 0, method="zero")
    found, nothing = alike("all weights 0", model)
    pictures = {"all weights 0": model[0].weight.detach()}
    model = started(network(), 0, weight=isoinit.Constant(0.1), bias=isoinit.Zeros())
    more, equal = alike("all weights 0.1", model)
    pictures["all weights 0.1"] = model[0].weight.detach()
    # One answer to everything is right as often as that digit comes up.
    share = 100 * DIGITS.test_y.bincount().max().item() / len(DIGITS.test_y)
    found += [
        Found(
            "all weights 0: accuracy",
            f"that of one answer to everything, {share:.1f} % at most",
            f"{nothing:.1f} %",
            nothing < share + 1e-3,
        ),
        *more,
    ]
    zero = [train(started(network(), seed, bias=isoinit.Zeros())) for seed in SEEDS]
    drawn = [train(started(network(), seed, bias=isoinit.Normal(std=0.1))) for seed in SEEDS]
    ended = [train(started(Branches(), seed, end=isoinit.Zeros())) for seed in SEEDS]
    full = [train(started(Branches(), seed)) for seed in SEEDS]
    found += [
        compared("random weights: accuracy with biases zero, and random (std 0.1)", zero, drawn),
        compared(f"{BLOCKS} residual branches that end at zero, and as planned", ended, full),
    ]
    model = started(network(), 0)
    train(model)
    draw({**pictures, "planned, biases 0": model[0].weight.detach()})
    return found, (
        f"If all weights are 0.1, {WIDTH} equal units reach an accuracy of {equal:.1f} %. If all"
        " weights are zero, only the last bias has a gradient: the hidden layer passes no "
        "signal forward, and the last layer passes no gradient back. At the end of a residual "
        "branch a zero does no harm. The sum passes the signal around the branch, and the "
        "inputs of the weight differ from unit to unit. So its gradient is neither zero nor the"
        " same for all units."
    )


def draw(weights: dict[str, torch.Tensor]) -> None:
    """What each hidden unit looks for after training: a column a pixel, a row a unit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.8), layout="constrained")
    places = figure.subplots(1, len(weights), sharey=True)
    for axes, (name, weight) in zip(places, weights.items(), strict=True):
        image = axes.imshow(weight[:24, 20:44].numpy(), cmap="RdBu", vmin=-0.4, vmax=0.4)
        axes.set(title=name, xlabel="24 of the pixels", xticks=[], yticks=[])
    places[0].set_ylabel("24 hidden units")
    figure.colorbar(image, ax=places, label="weight", extend="both")
    figure.suptitle("weights of the first layer after training")
    save(figure, "zero")


CLAIM = Claim(
    "zero",
    "Zero: symmetry stays, and biases do no harm",
    "Units that start with equal weights stay equal during training, so a layer of such units "
    "learns no more than one unit. Biases may start at zero, because the weights already "
    "differ. The end of a residual branch may start at zero too.",
    "Rumelhart, Hinton & Williams 1986; Glorot & Bengio 2010, section 2.3; Goyal et al. 2017, section "
    "5.1; Zhang et al. 2019",
    f"Handwritten digits, one in five held out. A network 64-{WIDTH}-10 with tanh, and a network"
    f" with {BLOCKS} residual branches without norm layers. {STEPS} steps of Adam, {len(SEEDS)} "
    "seeds.",
    run,
)

if __name__ == "__main__":
    main(CLAIM)
