"""What is to be known of a calibration: what was left alone, and what is doubtful."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from isoinit._showing.findings import listed

FAR = 10.0  # a correction beyond this factor, up or down, is worth a note
_SHOWN = 8  # names in a note


def doubts(tensors: list[torch.Tensor]) -> list[str]:
    """Return what is doubtful about a batch, one sentence each."""
    examples = {len(tensor) for tensor in tensors if tensor.dim()}
    if examples == {1}:
        return [
            "calibrated on one example: the scales fit this example, and the differences between "
            "examples are not known; pass a batch of several examples"
        ]
    notes = []
    for tensor in tensors:
        if not tensor.is_floating_point() or tensor.dim() < 2 or len(tensor) < 2:
            continue
        constant = (tensor == tensor[:1]).all(0)
        places = constant.nonzero().tolist()
        if places:
            shown = ", ".join(str(p[0] if len(p) == 1 else tuple(p)) for p in places[:_SHOWN])
            more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
            notes.append(
                f"{len(places)} of {constant.numel()} features of the batch are the same in every "
                f"example ({shown}{more}): they add to the signal but do not distinguish examples; "
                "leave them out or subtract their mean"
            )
    return notes


def notes_of_left(left: Mapping[str, str], order: list[str]) -> list[str]:
    """Return a sentence for each reason, with the names of the weights left alone for it."""
    reasons: dict[str, list[str]] = {}
    for name in order:
        if name in left:
            reasons.setdefault(left[name], []).append(name)
    return [
        f"calibration did not change {listed(names, _SHOWN)}: {why}"
        for why, names in reasons.items()
    ]


def notes_of_corrections(factors: Mapping[str, float], uses: Mapping[str, int]) -> list[str]:
    """Return what is to be known of corrections, by the factor of each weight and its uses."""
    notes = []
    if shared := [name for name in factors if uses[name] > 1]:
        notes.append(
            f"{listed(shared, _SHOWN)} calibrated at the first use: a weight that is used several "
            "times has one scale"
        )
    far = [(n, factor) for n, factor in factors.items() if not 1 / FAR < factor < FAR]
    if far:
        names = [f"{name} (×{factor:.3g})" for name, factor in far]
        notes.append(
            f"calibration changed {listed(names, _SHOWN)} by more "
            f"than {FAR:g} times: the input there is far from unit size, or nearly the same for all "
            "examples and units; standardize the data"
        )
    return notes
