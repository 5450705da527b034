"""The scale of each layer's output on a batch, measured and corrected. Loads torch.

`calibrate` (the corrected entries of a plan: import `calibrated` from here), `measure` (one pass over
the graph in order of execution) and `notes` (what was left alone, and what is doubtful).
"""

from isoinit._planning.calibration.calibrate import calibrated

__all__ = ["calibrated"]
