"""A batch that fits a model: guesses from its forward's arguments and its config, one by one."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterator
from typing import Any

import torch
from evidence.families.configs import parts
from torch import nn

LENGTH = 16


def fitting(model: nn.Module, config: Any) -> dict[str, Any]:
    """The first guess that the model runs on.

    Raises:
        Exception: the model's own, for the first guess.
    """
    first: Exception | None = None
    for batch in guesses(model, config):
        for _ in range(4):
            try:
                with torch.no_grad():
                    model(**batch)
                return batch
            except Exception as failure:
                first = first or failure
                if not _learn(batch, str(failure), config):
                    break
    raise first or RuntimeError("no guess at a batch")


def _learn(batch: dict[str, Any], message: str, config: Any) -> bool:
    """Put in as many image tokens as a model says it has image features; False if it says nothing."""
    found = re.search(r"features?\D{0,20}(\d+)\D*$|features:?\s*(\d+)", message)
    token = look(
        config, "image_token_id", "image_token_index", "audio_token_id", "audio_token_index"
    )
    if "input_ids" not in batch or token is None or not found or "token" not in message.lower():
        return False
    count = int(found.group(1) or found.group(2))
    text = _ids(1, 8)[0]
    row = torch.cat([text[:4], torch.full((count,), int(token)), text[4:]])
    before = batch["input_ids"]
    batch["input_ids"] = row[None]
    return before.shape != batch["input_ids"].shape


def guesses(model: nn.Module, config: Any) -> Iterator[dict[str, Any]]:
    """Batches that might fit, the fullest first."""
    arguments = inspect.signature(model.forward).parameters
    required = [
        n
        for n, p in arguments.items()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    options: dict[str, list[Any]] = {}
    for name in arguments:
        made = list(_values(name, config))
        if made and (name in required or name in SIGNALS):
            options[name] = made
    mains = [n for n in options if n in SIGNALS and n not in required]
    subsets = [tuple(mains)] + [(n,) for n in mains]
    subsets += [pair for pair in itertools.combinations(mains, 2) if len(mains) > 2]
    for subset in dict.fromkeys(subsets):
        names = [n for n in options if n in required or n in subset]
        if names:
            for values in itertools.islice(itertools.product(*(options[n] for n in names)), 16):
                yield dict(zip(names, values, strict=True))


SIGNALS = (
    "input_ids pixel_values pixel_values_videos input_features input_values decoder_input_ids bbox "
    "past_values past_time_features past_observed_mask future_values image_grid_thw "
    "hidden_states inputs flattened_patches spectrogram states actions rewards returns_to_go "
    "timesteps inputs_embeds_pool pixel_mask audio_values video_values speech_ids "
    "conditional_input_ids audio_input_ids"
).split()


def _values(name: str, config: Any) -> Iterator[Any]:
    """What an argument of this name might be, likeliest first."""
    channels = look(config, "num_channels", "in_channels", "in_chans", "num_image_channels") or 3
    channels = channels if isinstance(channels, int) else channels[0]
    if name in ("input_ids", "decoder_input_ids", "bool_ids", "conditional_input_ids"):
        yield _ids(1, LENGTH)
        codebooks = look(config, "num_codebooks", "num_vq", "n_codes_total")
        if codebooks:
            yield _ids(1, codebooks, LENGTH)
            yield _ids(1, LENGTH, codebooks)
            yield _ids(codebooks, LENGTH)
    elif name == "attention_mask":
        yield torch.ones(1, LENGTH, dtype=torch.long)
    elif name == "pixel_values":
        for side in sides(config):
            yield torch.randn(1, channels, *side)
        frames = look(config, "num_frames", "frames_per_clip", "num_video_frames") or 4
        for side in sides(config):
            yield torch.randn(1, frames, channels, *side)
            yield torch.randn(1, 1, channels, *side)
        patch = look(config, "patch_size") or 14
        patch = patch if isinstance(patch, int) else patch[0]
        for time in (look(config, "temporal_patch_size") or 1, 2, 1):
            yield torch.randn(16, channels * patch * patch * time)
        yield torch.randn(1, 16, channels * patch * patch)
    elif name == "pixel_values_videos":
        frames = look(config, "num_frames", "frames_per_clip") or 4
        for side in sides(config):
            yield torch.randn(1, frames, channels, *side)
    elif name == "image_grid_thw":
        yield torch.tensor([[1, 4, 4]])
    elif name == "pixel_mask":
        side = next(sides(config))
        yield torch.ones(1, *side, dtype=torch.long)
    elif name in ("input_features", "spectrogram"):
        bins = look(config, "num_mel_bins", "feature_size", "input_dim", "n_mels", "mel_bins") or 80
        length = 2 * (look(config, "max_source_positions") or 32)
        yield torch.randn(1, bins, length)
        yield torch.randn(1, 64, bins)
        yield torch.randn(1, 1, 1024, bins)
    elif name in ("input_values", "audio_values"):
        yield torch.randn(1, 8000)
        yield torch.randn(1, look(config, "audio_channels") or 1, 8000)
        bins = look(config, "num_mel_bins") or 80
        yield torch.randn(1, look(config, "max_length") or 64, bins)
    elif name == "bbox":
        yield torch.zeros(1, LENGTH, 4, dtype=torch.long)
    elif name in ("past_values", "past_observed_mask"):
        steps = look(config, "context_length") or 32
        lags = max(look(config, "lags_sequence") or [0])
        width = look(config, "num_input_channels", "input_size") or 1
        full = (1, steps + lags) if width == 1 else (1, steps + lags, width)
        yield torch.ones(full)
        yield torch.randn(1, steps)
        yield torch.randn(1, steps, width)
    elif name in ("past_time_features", "future_time_features"):
        steps = look(config, "context_length") or 32
        lags = max(look(config, "lags_sequence") or [0])
        yield torch.randn(1, steps + lags, look(config, "num_time_features") or 1)
    elif name == "future_values":
        yield torch.randn(1, look(config, "prediction_length") or 8)
    elif name in ("hidden_states", "inputs_embeds", "encoder_hidden_states"):
        yield torch.randn(1, LENGTH, look(config, "hidden_size", "d_model") or 64)
        yield torch.randn(1, look(config, "hidden_size", "d_model") or 64, 8, 8)
    elif name == "inputs":
        yield _ids(1, look(config, "max_position_embeddings") or LENGTH)
    elif name == "flattened_patches":
        patch = look(config, "patch_size") or 16
        grid = torch.stack(
            torch.meshgrid(torch.arange(1, 5), torch.arange(1, 5), indexing="ij"), -1
        )
        pixels = torch.randn(1, 16, channels * patch * patch)
        yield torch.cat([grid.reshape(1, 16, 2).float(), pixels], -1)
    elif name in ("states", "actions", "rewards", "returns_to_go"):
        width = {"states": "state_dim", "actions": "act_dim"}.get(name)
        yield torch.randn(1, LENGTH, (look(config, width) or 1) if width else 1)
    elif name == "timesteps":
        yield torch.arange(LENGTH)[None]


def sides(config: Any) -> Iterator[tuple[int, int]]:
    """Heights and widths of an image, what the config says first."""
    found = look(config, "image_size", "img_size", "input_size", "crop_size")
    if isinstance(found, dict):
        found = (found.get("height", 64), found.get("width", 64))
    if isinstance(found, (list, tuple)) and len(found) >= 2:
        yield (int(found[0]), int(found[1]))
    elif isinstance(found, int):
        yield (found, found)
    for side in (64, 224):
        yield (side, side)


def look(config: Any, *names: str) -> Any:
    """The first of some attributes that a config, or a config in it, has."""
    for name in names:
        for part in parts(config):
            value = vars(part).get(name)
            if value is not None:
                return value
    return None


def _ids(*shape: int) -> torch.Tensor:
    return torch.randint(5, 100, shape, generator=torch.Generator().manual_seed(0))
