"""Audits: whether counters and statuses agree with each other, and the agents' counters mended.

Callers use AuditRepository. The checks are the files of ``sql/audit``, to be run in psql too; which counters
may be mended is decided in ``scheduling/admission/repairs.py``.
"""
