"""The errors that are left, each looked at by hand: whether it is right, and why.

Keyed by the model, or by the beginning of its name. A model without a line here is told as not judged.
"""

from __future__ import annotations

VERDICTS: dict[str, tuple[bool, str]] = {
    "x_transformers: hyper-connections": (
        True,
        "`sinkhorn` is applied to a matrix of one row, which makes every mixing weight one: the four "
        "streams are summed into each other in every layer, and the gradient grows fourfold a layer; "
        "the functions that make these weights get no gradient of use",
    ),
    "vit_pytorch: levit.LeViT": (
        True,
        "the last norm of each shrinking attention starts at zero without a skip beside it, two in a "
        "row: behind them all examples are the same, and all but the last biases stand still",
    ),
    "torch_geometric: RGATConv": (
        True,
        "`l2` is made by `torch.empty` and written by no initialization; it is not used in this mode, "
        "so no plan knows what it is for",
    ),
    "diffusers: AutoencoderTiny": (
        True,
        "the forward rounds its latents to bytes, which passes no gradient to the encoder; it is "
        "trained by calling `encode` and `decode`",
    ),
    "torchaudio: HDemucs": (
        True,
        "all weights are divided by the root of their scale, which loses the signal ninefold a "
        "layer, and so are the biases of `query_decay`: set to -2, they become -20, and the sigmoid "
        "behind them is flat; a plan mends the first and keeps the second, which the constructor "
        "chose",
    ),
    "torchaudio: Wav2Letter": (
        True,
        "eleven convolutions with torch's default under ReLU lose nine tenths of the differences in "
        "every second layer",
    ),
    "transformers: canary": (
        True,
        "the convolutions in front, at std 0.02, leave the encoder's stream at 10⁻⁵, below the "
        "epsilon of its norm layers; the first block lifts it to one, and the gradient falls as much",
    ),
    "transformers: table-transformer": (
        True,
        "the last norm of each block of its backbone starts at zero and is then frozen: until weights "
        "are loaded no gradient comes to any convolution in a branch",
    ),
}


def verdict(family: str) -> tuple[bool, str] | None:
    """What was found by hand about a model's errors; None where nobody looked."""
    return next((v for start, v in VERDICTS.items() if family.startswith(start)), None)
