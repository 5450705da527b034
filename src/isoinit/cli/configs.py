"""A target that is a config of `transformers`: `hf:path/to/config.json` or the folder that holds it.

Only local files are read. Nothing is fetched, and no code of the folder is run.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoinit._system.packages import needs
from isoinit.cli.failures import near_file, told
from isoinit.errors import ArgumentError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

SCHEME = "hf:"
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")  # read when the packages are imported


def model_of(target: str) -> nn.Module:
    """Return the model that a config describes, with new weights, in the config's dtype.

    It is of the class that `architectures` names, or else what `AutoModel` makes of the config.

    Args:
        target: "hf:" and the path of a JSON file, or of a folder with a `config.json`.

    Raises:
        ArgumentError: if there is no such file, it is no config that this version of `transformers`
            knows, it needs code of its own, or its model cannot be made.
        PackageError: if `transformers` is not installed.
    """
    path = Path(target.removeprefix(SCHEME))
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise ArgumentError(
            f"TARGET {target!r}: there is no file {path}{near_file(path)}"
            f"{'' if path.parent.is_dir() else '. Nothing is fetched: give the path of a local file'}"
        )
    os.environ.update(dict.fromkeys(OFFLINE, "1"))
    with needs("transformers", f"TARGET {target!r}"):
        import transformers
    try:
        config = transformers.AutoConfig.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # of many kinds
        raise ArgumentError(
            f"TARGET {target!r}: transformers {transformers.__version__} can't read the config: "
            f"{told(error)}"
        ) from error
    if "model_type" not in json.loads(path.read_text("utf-8")):  # some versions guess by the path
        raise ArgumentError(f"TARGET {target!r}: can't read the config: it has no 'model_type'")
    kind = _class(transformers, config, target)
    try:
        made: nn.Module = kind(config)
    except Exception as error:
        raise ArgumentError(f"TARGET {target!r}: making the model failed: {told(error)}") from error
    return made


def _class(transformers: Any, config: Any, target: str) -> Any:
    """Return what makes the model of a config.

    Raises:
        ArgumentError: if the config names a class that `transformers` does not have.
    """
    names = config.architectures
    if not names:
        return transformers.AutoModel.from_config
    found = getattr(transformers, names[0], None)
    if not isinstance(found, type) or not issubclass(found, transformers.PreTrainedModel):
        raise ArgumentError(
            f"TARGET {target!r}: its architecture {names[0]!r} is no model of transformers "
            f"{transformers.__version__}{did_you_mean(names[0], dir(transformers))}. Code of the "
            "folder is not run: give a function that returns the model"
        )
    kind: Any = found
    return kind._from_config  # what `from_config` calls: it makes the weights in the config's dtype
