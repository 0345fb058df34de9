"""Owners: domains, their projects and users, and the users' keypairs.

``repository`` is what users of the package call; ``db_source`` holds the statements. A whole cluster is loaded
with the statements of this folder too. Specs and answers are in ``entities.owner``; the rows of policies and
quotas that are registered with owners are in ``database.limit_rows``.
"""
