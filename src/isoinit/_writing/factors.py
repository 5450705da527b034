"""How a parameter's start and learning rate follow from those of a smaller model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from isoinit._system.schema import Place, fault, read_fields, types_of

OPTIMIZERS = ("adamw", "adam", "sgd", "muon", "muon:match_rms_adamw")
TRAINERS = ("adamw", "adam", "sgd", "muon")
DECAYS = ("mup", "constant", "sqrt")
DEPTHS = ("completep", "mup", None)


@dataclass(frozen=True)
class Factors:
    """What the settings of a base model are multiplied by for one parameter of a larger model.

    Attributes:
        kind: what it is to the width: "input weight", "hidden weight", "readout", "vector" and so on.
        std: of its initial standard deviation.
        lr, decay, eps: of the optimizer's learning rate, weight decay and ε.
        gauge: how many times larger it is stored than in a model whose forward has the multipliers of
            the papers, which trains alike. It is part of the four factors above.
        grown_in, grown_out: how many times more it sums, and makes.
        optimizer: what trains it: one of `TRAINERS`.
        signal: how many times larger the output of its layer is than in such a model.
        decays: whether weight decay acts on it, as on all but vectors.
        reason, source: why, and who found it out.
    """

    kind: str
    std: float
    lr: float
    decay: float
    eps: float
    gauge: float = 1.0
    grown_in: float = 1.0
    grown_out: float = 1.0
    optimizer: str = "adamw"
    signal: float = 1.0
    decays: bool = True
    reason: str = ""
    source: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The factors as plain JSON data; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], at: Place = ()) -> Factors:
        """Read what `to_dict` wrote.

        Args:
            data: the fields.
            at: where they stand, for errors.

        Raises:
            ArgumentError: if a field is missing, not known, of a wrong type or out of range.
        """
        found = cls(**read_fields(types_of(cls), data, at))
        for name in ("std", "lr", "decay", "eps", "gauge", "grown_in", "grown_out", "signal"):
            if not 0 < getattr(found, name) < math.inf:
                raise fault((*at, name), getattr(found, name), "a finite number above 0")
        if found.optimizer not in TRAINERS:
            raise fault((*at, "optimizer"), found.optimizer, f"one of {', '.join(TRAINERS)}")
        return found


@dataclass(frozen=True)
class Setting:
    """What the factors of a plan were worked out for.

    Attributes:
        optimizer: one of `OPTIMIZERS`; "muon" is for hidden matrices, beside AdamW for the rest, and
            names its `adjust_lr_fn` where that is not "original".
        decay: how weight decay follows the width: one of `DECAYS`.
        depth: how branches follow the depth: one of `DEPTHS`.
        base: what the factors multiply the settings of, in words: "GPT2LMHeadModel, width 64".
        notes: what only a change of the forward could do, and what is doubtful, in sentences.
    """

    optimizer: str
    decay: str
    depth: str | None
    base: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The setting as plain JSON data; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], at: Place = ()) -> Setting:
        """Read what `to_dict` wrote.

        Raises:
            ArgumentError: if a field is missing, not known, of a wrong type or not one of its kind.
        """
        found = cls(**read_fields(types_of(cls), data, at))
        known = {"optimizer": OPTIMIZERS, "decay": DECAYS, "depth": DEPTHS}
        for name, values in known.items():
            if (value := getattr(found, name)) not in values:
                raise fault((*at, name), value, f"one of {', '.join(map(str, values))}")
        return found
