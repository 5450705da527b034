"""Initial parameters straight to a checkpoint, without the model in memory; a checkpoint verified.

`write_checkpoint` and `verify_checkpoint`, which `isoinit` hands out too, are all that may be imported
from here. `tensors` (what is stored), `files`, `shards` and `dcp` (which bytes stand where), `writer`
and `folder` (onto the disk), `read` (back), and `record` (what decides every byte: `isoinit.json`).
"""

from isoinit.checkpoint.verify import Verified, verify_checkpoint
from isoinit.checkpoint.write import Written, write_checkpoint

__all__ = ["Verified", "Written", "verify_checkpoint", "write_checkpoint"]
