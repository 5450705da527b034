"""One function a finding: from the facts to what is wrong, where, how bad, and what to do about it.

Thresholds stand at the head of each file with the reason. To add a finding, write it here and give it
a row in `judge.FINDERS`, the only importer.
"""
