"""Leases: which of several schedulers may write a group's decisions.

LeaseKeeper in ``leadership.py`` holds one for as long as a scheduler runs, by LeaseRepository; writes that name
a lease check it in ``database/idempotent_write.py``.
"""
