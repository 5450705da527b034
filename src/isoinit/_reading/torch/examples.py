"""Makes an example for a model, where its own declarations or its first layer tell what it takes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from isoinit._reading.graph import Graph
from isoinit._reading.torch.containers import namespace
from isoinit._reading.torch.modules import leaf_layers
from isoinit._reading.torch.names import unwrap
from isoinit._reading.torch.run import trace
from isoinit.errors import TraceError

TOKENS = 8
SIDES = (32, 64, 224)  # images are tried in these sizes: some models need many pixels, or few


def examples(model: nn.Module) -> Iterator[Any]:
    """Batches that the model may take, the likeliest first; nothing where there is no telling.

    From `model.dummy_inputs` and the config of a `transformers` model, or from the first layer of a
    model whose forward takes one argument. The values are random, the same at every call.
    """
    inner = unwrap(model)
    parameters = sorted(inner.parameters(), key=torch.is_complex)  # real ones first
    numbers = (p for p in parameters if p.is_floating_point() or p.is_complex())
    like = next(numbers, torch.empty(0, device="cpu"))
    home = torch.device("cpu") if like.is_meta else like.device

    def typed(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(home, like.dtype) if tensor.is_floating_point() else tensor.to(home)

    if namespace(inner).get("config") is not None and hasattr(type(inner), "main_input_name"):
        for batch in _from_config(inner):
            yield {name: typed(tensor) for name, tensor in batch.items()}
    elif len(needed(inner)) == 1:
        yield from map(typed, _from_first_layer(inner))


def trace_made_up(model: nn.Module, *, real: bool = False) -> tuple[Graph, Any]:
    """Read a model by running it on an example that is made for it; return both.

    Args:
        model: any model.
        real: whether real tensors may be run where fake ones do not do. A large model takes long on
            them, and its weights may not be there yet.

    Raises:
        TraceError: if none can be made, or the forward refuses those that are; it says what to pass.
    """
    refusal = ""
    for batch in examples(model):
        try:
            return _without_moments(trace(model, batch, real=real)), batch
        except TraceError as error:  # the first is of the likeliest example
            refusal = refusal or str(error).partition(". Pass")[0]
    refusal = refusal or "there is no telling what its forward takes"
    names = ", ".join(needed(model)) or "its inputs"
    raise TraceError(
        f"no example could be made for {type(unwrap(model)).__name__} ({refusal}); pass one for "
        f"{names}: a tensor, a tuple of arguments, or a mapping of keyword arguments"
    )


def _without_moments(graph: Graph) -> Graph:
    """Return a graph whose example stands for any: what was made up has no moments of its own."""
    return replace(graph, given={v: given for v, given in graph.given.items() if given.fixed})


def needed(model: nn.Module) -> list[str]:
    """The arguments that a model's forward cannot do without."""
    try:
        parameters = inspect.signature(unwrap(model).forward).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in kinds]


def _from_config(model: Any) -> Iterator[dict[str, Any]]:
    """Guesses for a model of `transformers`, from what its config says of its inputs."""
    takes = inspect.signature(model.forward).parameters
    main = [model.main_input_name]
    pairs = [*main, *(n for n in ("input_ids", "pixel_values") if n in takes and n not in main)]
    extra = ["decoder_input_ids"] if model.config.is_encoder_decoder else []
    for names in (pairs, main) if pairs != main else (main,):
        names = [*names, *(name for name in extra if name in takes and name not in names)]
        for choice in range(len(SIDES) + 1):
            batch = {name: _input(name, model.config, choice) for name in names}
            if all(tensor is not None for tensor in batch.values()):
                yield batch
            if not {"pixel_values", "input_features"} & set(names):
                break  # nothing varies with the choice
    if model.dummy_inputs.keys() <= takes.keys():  # a model of sound is given tokens, too
        yield dict(model.dummy_inputs)


def _input(name: str, config: Any, choice: int) -> torch.Tensor | None:
    """An input of `transformers` by its name; `choice` tells which of several likely shapes."""
    if name in ("input_ids", "decoder_input_ids"):
        return _tokens(_look(config, "vocab_size") or 100)
    if name == "pixel_values":
        said = _look(config, "image_size") if choice == 0 else SIDES[choice - 1]
        sides = (said, said) if isinstance(said, int) else said
        channels = _look(config, "num_channels", "in_channels") or 3
        if not isinstance(channels, int) or not isinstance(sides, (tuple, list)):
            return None
        return _noise(1, channels, *sides)
    if name == "input_features":
        bins = _look(config, "num_mel_bins", "input_feat_per_channel") or 80
        length = 2 * (_look(config, "max_source_positions") or 32)
        return _noise(1, bins, length) if choice == 0 else _noise(1, 64, bins)
    return _noise(1, 8000) if name == "input_values" else None


def _look(config: Any, *names: str) -> Any:
    """The first of some settings in a config or, one level down, in the configs of its parts."""
    inside = (namespace(config) or {}).values()
    parts = [config, *(part for part in inside if hasattr(type(part), "to_dict"))]
    found = (getattr(part, name, None) for name in names for part in parts)
    return next((value for value in found if value is not None), None)


def _from_first_layer(model: nn.Module) -> Iterator[torch.Tensor]:
    layer = next((m for m in leaf_layers(model) if any(True for _ in m.parameters())), None)
    if isinstance(layer, nn.Linear):
        yield _noise(2, layer.in_features)
        yield _noise(2, TOKENS, layer.in_features)
    elif isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
        yield _tokens(layer.num_embeddings)
    elif isinstance(layer, nn.modules.conv._ConvNd):
        for side in SIDES[:1] if len(layer.kernel_size) == 3 else SIDES:
            yield _noise(2, layer.in_channels, *[side] * len(layer.kernel_size))
    elif isinstance(layer, nn.RNNBase):
        yield _noise(2, TOKENS, layer.input_size)
    elif isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        yield _noise(2, *layer.normalized_shape)
        yield _noise(2, TOKENS, *layer.normalized_shape)


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), device="cpu")


def _tokens(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(count, (2, TOKENS), generator=generator, device="cpu")
