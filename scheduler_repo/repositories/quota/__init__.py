"""Quotas: the limits of each owner, and what it occupies.

``repository`` is what users of the package call; ``db_source`` holds the statements. Specs and answers are in
``entities.quota``. Allocations lock the rows of this table by ``database.locks``.
"""
