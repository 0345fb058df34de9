"""Retention: finished sessions, agents' history and operations are purged when they are old.

Callers use RetentionRepository, which deletes in batches that nobody waits for, each in a transaction of its
own, and may hand what it deletes to an archive first.
"""
