"""Who asked for a write: the function and its line, behind the tools that did it."""

from __future__ import annotations

import sys
from types import FrameType
from typing import NamedTuple

# Whose frames stand between a write and the line that asked for it; torch's layers are no such thing,
# but for what all modules have (load_state_dict, apply).
TOOLS = (
    "torch.",
    "transformers.initialization",
    "isoinit.functional",
    "isoinit._writing.",
    "isoinit._verifying.auditing.",
)
TORCH_LAYERS = "torch.nn.modules."
MODULE = "torch.nn.modules.module"


class Asked(NamedTuple):
    """Who asked for a write.

    Attributes:
        caller: the run of the function that asked.
        line: its file and line.
        tool: the run of the function in between, as of `torch.nn.init`, if there is one.
    """

    caller: FrameType | None
    line: str
    tool: FrameType | None

    @property
    def is_torchs(self) -> bool:
        """Whether one of torch's layers asked, for itself."""
        return self.caller is not None and _is_layer(_module(self.caller))


def asked() -> Asked:
    """Return who asked for the write that the caller of this function sees."""
    tool, frame = None, sys._getframe(1)
    while frame.f_back is not None:
        name = _module(frame)
        if not name.startswith(TOOLS) or _is_layer(name):
            break
        tool = None if name.startswith("isoinit._verifying.") else frame
        frame = frame.f_back
    file = frame.f_code.co_filename.replace("\\", "/").rsplit("/", 1)[-1]
    return Asked(frame, f"{file}:{frame.f_lineno} in {frame.f_code.co_name}", tool)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _is_layer(module: str) -> bool:
    return module.startswith(TORCH_LAYERS) and module != MODULE
