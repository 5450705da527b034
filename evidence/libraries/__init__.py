"""Checks and plans whole public libraries of models, and writes docs/libraries.md."""
