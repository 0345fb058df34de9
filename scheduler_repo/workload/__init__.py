"""Clusters with a queue to load: read from a trace, or made up by a seed."""
