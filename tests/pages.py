"""Pages that tests of several kinds look at."""

import math

from isoinit._showing.page import (
    Block,
    Box,
    Branch,
    Chart,
    Curve,
    Density,
    Figure,
    Histogram,
    Page,
    Remark,
    Row,
    Table,
    alike,
    by_kind,
    folds,
)

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"><b onclick='alert(1)'>",
    "javascript:alert(1)",
    "&lt;plain&gt;",
)


def compared():
    """Three methods, five layers with names that would do harm as HTML, one histogram."""
    methods = ["default", "plan", "<i>he</i>"]
    values = {
        "default": [1.0, 1e-9, 1e-20, 0.0, 1e-38],
        "plan": [1.0, 0.9, 1.1, 1.0],
        "<i>he</i>": [1.0, 1e3, "inf", None, math.nan],
    }
    curves = [Curve("", values[m], group=m) for m in methods]
    losses = [Curve("", [2.0, 1.0], [1.5, 0.5], [2.5, 1.5], group=m) for m in methods]
    rows = [
        (name, i, (None, 2.5, -1e-9, math.inf, 10.0)[i], "long " * 100, methods[i % 3])
        for i, name in enumerate(HOSTILE)
    ]
    return Page(
        HOSTILE[0],
        "unhealthy",
        False,
        [("task", HOSTILE[1])],
        [
            Remark("error", "it vanishes", "use a plan", HOSTILE[2], HOSTILE[1:2], "default"),
            Remark("warning", "it grows", method="<i>he</i>"),
            *[Remark("note", f"of all {i}") for i in range(8)],
        ],
        charts=[
            Chart("Forward", "layer", "size", curves, HOSTILE),
            Chart("Training", "step", "loss", losses, log=False, band="range"),
            Chart("Nothing", "layer", "size", [Curve("plan", [None, 0.0])]),
        ],
        tables=[
            Table(
                "Parameters",
                ("parameter", "index", "size", "reason", "method"),
                rows,
                ("method",),
                [Histogram(-1.0, 1.0, [1, 2, 3, 4]), None, None, None, None],
                details=("reason",),
            ),
            Table("Of default", ("name",), [("a",)], method="default"),
        ],
        methods=methods,
        notes=["noted"],
    )


def drawn_block(names):
    """Twelve blocks of a branch: a norm, and behind it two layers side by side."""
    several = {part: [n for n in names if n.endswith(part)] for part in ("attn", "mlp", "norm")}
    kinds = {"attn": "layer", "mlp": "layer", "norm": "norm"}
    boxes = {
        part: Box(f"h.0…11.{part}", part, kinds[part], [("rms", (0.1, 10.0))], [1.0] * len(of))
        for part, of in several.items()
    }
    return Block(
        "h.0…11", 12, [Branch("", [Row([boxes["norm"]]), Row([boxes["attn"], boxes["mlp"]])])]
    )


def folded():
    """Twelve blocks of three layers, a head, and the same of another group; a row a layer."""
    names = [f"h.{i}.{part}" for i in range(12) for part in ("attn", "mlp", "norm")] + ["head"]
    kinds = alike(names, [""] * len(names))
    sizes = [[1.0, 0.1, 0.01][i % 3] * 1.01**i for i in range(len(names))]
    expected = by_kind(kinds, [1.1 * size for size in sizes], "expected")
    measured = by_kind(kinds, sizes, "measured")
    reason = "because of something that takes many words to tell, " * 6
    rows = [
        (n, s, reason, "ok" if i % 5 else "error")
        for i, (n, s) in enumerate(zip(names, sizes, strict=True))
    ]
    density = Density(0.0, 0.5, "normal", "planned: std 0.5")
    histograms = [Histogram(-1.0, 1.0, [1, 5, 9, 5, 1], density) for _ in names]
    columns = ("layer", "rms", "reason", "verdict")
    head = Row([Box("head", "head", "layer", [("rms", 1.0)], [None])])
    return Page(
        "Folded",
        "unhealthy",
        False,
        [("layers", "37")],
        [Remark("error", "it is small", where=names[:1])],
        figure=Figure("The model", "Coloured by size", [drawn_block(names), head]),
        charts=[Chart("Signal", "layer", "rms", [*expected, *measured], names)],
        tables=[
            Table(
                "Layers",
                columns,
                rows,
                ("verdict",),
                histograms,
                folds=folds(kinds, rows),
                details=("reason",),
                main=("rms", "verdict"),
            )
        ],
    )


def large():
    """1,000 layers, 10,000 parameters with histograms, and 12 methods."""
    methods = [f"method {i}" for i in range(12)]
    names = [f"model.layers.{i}.mlp.down_proj" for i in range(1000)]
    curves = [
        Curve("", [math.exp(-i * (1 + j) / 400) for i in range(1000)], group=m)
        for j, m in enumerate(methods)
    ]
    rows = [
        (
            f"model.layers.{i // 10}.part_{i % 10}.weight",
            "1024×1024",
            ("LooksLinear", "Zeros")[i % 2],
            math.sin(i),
            methods[i % 12],
            "scaled so that the second moment of the signal that feeds it is kept",
        )
        for i in range(10_000)
    ]
    columns = ("parameter", "shape", "initializer", "std", "method", "reason")
    histograms = [Histogram(-1 / 3, 1 / 3, [i % 997 + j for j in range(32)]) for i in range(10_000)]
    return Page(
        "Large",
        "complete",
        charts=[Chart(title, "layer", "size", curves, names) for title in ("Forward", "Backward")],
        tables=[Table("Parameters", columns, rows, ("initializer",), histograms)],
        methods=methods,
    )
