"""The suites: one module per suite, listed in ``registry``.

``suite`` says what a suite is, ``runner`` runs one, ``reach`` takes its cases one by one.
"""
