"""Clusters to measure on: how large, what is in them, where they lie, and how they are loaded.

``sizes`` has the sizes, ``rows`` makes the rows (pure: it opens no database), ``load`` copies them into a
database, ``place`` is one database or schema, ``servers`` makes and removes those. Suites use ``load`` and
``place``.
"""
