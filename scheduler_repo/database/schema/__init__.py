"""The schema: making it, its revision, and how a database differs from it.

``upgrade`` runs the migrations and the check, ``version`` reads the revision, ``catalog`` compares two schemas.
Used by the command line, the front door and tests; everything here takes a SQLAlchemy ``AsyncConnection``.
"""
