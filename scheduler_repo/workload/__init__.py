"""Clusters to load: synthetic ones, the same for the same seed, and traces of real clusters in CSV files.

Pure: each answers a ClusterSpec, and nothing here opens a database. For the demo, tests and benchmarks.
"""
