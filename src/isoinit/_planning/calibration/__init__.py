"""Measurements in a run of the model with the weights that a plan draws. Loads torch.

`calibrate` (the corrected entries of a plan), `measure` (the corrections, in one pass over the graph
in order of execution), `notes` (what was left alone, and what is doubtful), `moments` (the signal that
cannot be worked out, and the graph with a plan's values), and `forward` (the run). Import the names
below from here.
"""

from isoinit._planning.calibration.calibrate import calibrated
from isoinit._planning.calibration.moments import measure_moments, read_with

__all__ = ["calibrated", "measure_moments", "read_with"]
