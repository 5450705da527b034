"""Lists what plans of known models keep; see `__main__`."""
