"""What is run: fixed and committed before the first run, and standing whatever comes out.

1. A sweep trains one task at several widths, or depths, under several schemes. Rates are powers of
   two. All schemes and sizes of a sweep begin at the same rate, `start`.
2. A scheme at one size is tried at `start` and at the base's best rate, then at what is not yet tried
   of the `PAST` rates on either side of the best so far, the nearest first, until all are. Every rate
   is tried under every seed. So no best rate lies at the end of what was tried.
3. A run's loss is the mean of the training loss over its last `TAIL`-th of the steps. A run that is
   worse than a uniform guess after half of its steps, or whose loss is not finite, has failed: its
   loss is infinite.
4. The best rate of a size is the one with the lowest mean over seeds. Beside it stands the vertex of
   the parabola through the lowest loss and its two neighbours in log2 of the rate, a seed at a time.
5. What it costs to reuse the base's best rate is the loss at that rate less the loss at the size's
   own best rate, a seed at a time: mean and standard error. A seed gives the same data in the same
   order to all schemes and sizes, so all comparisons are of pairs. One loss is called lower than
   another if the mean of the differences is more than two standard errors from zero.
6. The rate rises over the first `WARM`-th of the steps, then falls in a line to `END` of itself. There
   is no weight decay, for which runs are too short, and no clipping, which hides what diverges.
7. Coordinates are measured by `isoinit.coordinates`: outputs on one batch that is not trained on,
   before and after each step, on the same data for all seeds. What is even is judged as it does, by
   kinds of layers: slopes within ±`EVEN`, of attention scores and outputs at most `EVEN`.

The numbers of steps were chosen by the time of single steps, so that all takes under 20 minutes on two
cores.
"""

from __future__ import annotations

from dataclasses import dataclass

OWN, PLAN, SCALED = "own", "plan", "scaled"
TRANSFER, COMPLETEP, MUP = "transfer", "completep", "mup"
TITLES = {
    OWN: "the library's init, one rate",
    PLAN: "the plan, one rate",
    TRANSFER: "plan + transfer",
    COMPLETEP: 'plan + transfer, depth="completep"',
    MUP: 'plan + transfer, depth="mup"',
    SCALED: "the library's init + transfer",
}
TRANSFERS = {
    TRANSFER: {"depth": "completep"},
    COMPLETEP: {"depth": "completep"},
    MUP: {"depth": "mup"},
    SCALED: {"depth": "completep", "recipe": "own"},
}
"""What `isoinit.transfer` is asked for; the depth matters in a sweep by depth alone."""

PAST = 2
LEAST, MOST = -20, 6  # log2 of the rates beyond which none is tried
TAIL, WARM, END = 8, 10, 0.1
MOMENTUM = 0.9  # of SGD; AdamW has torch's defaults
NEAR = 1.0  # log2 by which a best rate may move and still be called kept: one step of the grid

LENGTH, WINDOWS = 64, 2  # characters a window, windows a batch
IMAGES = 64  # digits a batch
# The descriptions of scikit-learn's data sets, of the version in constraints.txt.
TEXT_SHA256 = "4d67ad02ffe74a0f43027606274876c0656c443cef17fa2db77e08fce6107edd"


@dataclass(frozen=True)
class Sweep:
    """One task, trained at several sizes under several schemes.

    Attributes:
        title: a heading.
        task: a key of `tasks.TASKS`.
        by: "width" or "depth".
        sizes: of the models, the base first.
        other: the size that stays: the depth of a sweep by width, the width of one by depth.
        schemes: those that every size is trained under.
        optimizer: "adamw" or "sgd".
        steps: of a run.
        seeds: how many.
        start: log2 of the rate that is tried first.
        also: schemes that only some of the larger sizes are trained under.
    """

    title: str
    task: str
    by: str
    sizes: tuple[int, ...]
    other: int
    schemes: tuple[str, ...]
    optimizer: str
    steps: int
    seeds: int
    start: int
    also: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def base(self) -> int:
        """The size that the others take their rate from."""
        return self.sizes[0]

    @property
    def sizes_of(self) -> dict[str, tuple[int, ...]]:
        """The larger sizes that each scheme trains."""
        return {**dict.fromkeys(self.schemes, self.sizes[1:]), **dict(self.also)}


BY_WIDTH = (OWN, PLAN, TRANSFER)
SWEEPS = {
    "width": Sweep(
        title="A GPT by width",
        task="GPT",
        by="width",
        sizes=(64, 128, 256, 512),
        other=2,
        schemes=BY_WIDTH,
        optimizer="adamw",
        steps=120,
        seeds=3,
        start=-9,
        also=((SCALED, (256,)),),
    ),
    "depth": Sweep(
        title="A GPT by depth",
        task="GPT",
        by="depth",
        sizes=(2, 4, 8, 16),
        other=64,
        schemes=(OWN, PLAN, MUP, COMPLETEP),
        optimizer="adamw",
        steps=120,
        seeds=3,
        start=-9,
    ),
    "mlp": Sweep(
        title="A second task: an MLP by width",
        task="MLP",
        by="width",
        sizes=(64, 128, 256, 512),
        other=3,
        schemes=BY_WIDTH,
        optimizer="adamw",
        steps=60,
        seeds=6,
        start=-8,
    ),
    "sgd": Sweep(
        title="The same MLP under SGD with momentum",
        task="MLP",
        by="width",
        sizes=(64, 128, 256, 512),
        other=3,
        schemes=BY_WIDTH,
        optimizer="sgd",
        steps=60,
        seeds=6,
        start=-4,
    ),
}


@dataclass(frozen=True)
class Check:
    """One coordinate check.

    Attributes:
        task: a key of `tasks.TASKS`.
        widths: the base first.
        depth: that of every model.
        optimizer: "adamw" or "sgd".
        rate: log2 of the base's rate, under every scheme.
    """

    task: str
    widths: tuple[int, ...]
    depth: int
    optimizer: str
    rate: int


CHECKS = {
    "MLP": Check("MLP", (64, 128, 256, 512, 1024), 3, "adamw", -9),
    "MLP, SGD": Check("MLP", (64, 128, 256, 512, 1024), 3, "sgd", -4),
    "GPT": Check("GPT", (32, 64, 128, 256, 512), 2, "adamw", -9),
    "ResNet": Check("ResNet", (8, 16, 32, 64, 128), 2, "adamw", -9),
    "ViT": Check("ViT", (32, 64, 128, 256, 512), 2, "adamw", -9),
}
CHECKED = (OWN, PLAN, TRANSFER)
CHECKED_ALSO = {"GPT": (SCALED,)}
CHECK_SEEDS = (0, 1)
CHECK_STEPS = (1, 3)
EVEN = 0.25  # the greatest |slope| after the last of CHECK_STEPS that is called even
