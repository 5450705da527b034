"""Finds what an initialization forgot: it is run on poisoned memory, and the memory looked at.

`poisoned` (builds and runs a model there) with `writes` (sees each write there), `constructing` (sees
what a constructor writes, and over what) and `lines` (who asked for a write), `compare` (one tensor
after two runs), `ranks` (shards by hashes), `facts` → `finders/` → `judge` (what is wrong), `audits`
(the verb). Import `Audit` and `audit` from here.
"""

from isoinit._verifying.auditing.audits import Audit, audit

__all__ = ["Audit", "audit"]
