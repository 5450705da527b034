"""The library in environments of old, middle and new packages; writes docs/supported.md."""
