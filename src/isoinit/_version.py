"""The version, in the one place where it stands: the package is built with it."""

__version__ = "0.1.0"
