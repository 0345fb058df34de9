"""Quotas: the limits of each owner, and what it occupies; callers use QuotaRepository.

Allocations lock the rows of this table by ``database.locks``.
"""
