"""One function a finding: from the facts of an audit to what was forgotten, where, and what to do.

A function yields one finding for all tensors of a kind. To add one, write it here and give it a row in
`judge.FINDERS`, the only importer.
"""
