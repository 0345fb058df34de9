"""Benchmarks: what the engine costs, measured in turns with the raw driver and with the plain way.

``python -m bench SUITE`` is the command (``cli``); ``pytest bench`` measures the same cases. ``suites`` has one
module per suite, ``sides`` the ways to do the same work, ``data`` the clusters that they do it on, ``measure``
how it is measured; ``thresholds.toml`` says what must hold.
"""
