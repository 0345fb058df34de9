"""The engine's own metrics, one file a subject, and the endpoint that serves them.

``cache/metrics.py`` and ``resilience/policies/metrics.py`` hold those of their folders; ``dashboard.toml`` is a
Grafana dashboard of all.
"""
