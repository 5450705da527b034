"""Networks as people write them by hand."""
