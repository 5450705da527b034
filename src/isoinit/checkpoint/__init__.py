"""Initial parameters straight to a checkpoint, and a checkpoint verified."""

from isoinit.checkpoint.verify import Verified, verify_checkpoint
from isoinit.checkpoint.write import Written, write_checkpoint

__all__ = ["Verified", "Written", "verify_checkpoint", "write_checkpoint"]
