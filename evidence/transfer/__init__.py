"""Learning rates and initial scales that follow a model's width and depth, measured."""
