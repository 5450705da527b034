"""The version, in the one place where it stands: the package is built with it."""

__version__ = "1.0.0rc1"
