"""Finds what an initialization forgot: it is run on poisoned memory, and the memory looked at."""

from isoinit._verifying.auditing.audits import Audit, audit

__all__ = ["Audit", "audit"]
