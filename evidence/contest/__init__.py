"""The plan's choice beside every rival, on a development set and on a set of fresh models."""
