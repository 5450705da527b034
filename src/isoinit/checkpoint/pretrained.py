"""What `from_pretrained` of `transformers` reads beside the weights."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from isoinit._reading.torch.names import unwrap
from isoinit._writing.own_init import is_pretrained
from isoinit.checkpoint.files import File, text_file


def config_files(model: nn.Module) -> list[File]:
    """The configs of a model of `transformers`, as `save_pretrained` writes them; else none."""
    inner: Any = unwrap(model)
    if not is_pretrained(inner):
        return []
    config = copy.deepcopy(inner.config)
    config.dtype = str(inner.dtype).removeprefix("torch.")
    config.architectures = [type(inner).__name__.removeprefix("FSDP")]
    files = [text_file("config.json", config.to_json_string())]
    generation = getattr(inner, "generation_config", None)
    if generation is not None and inner.can_generate():
        text = generation.to_json_string(keys_to_pop=["compile_config"])
        files.append(text_file("generation_config.json", text))
    return files
