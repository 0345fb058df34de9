"""The demo: places a queue on a cluster, on servers that it starts itself or on those of the user.

``workload/`` makes the clusters, ``run`` takes them through every phase, ``display`` shows the run meanwhile,
``summary`` its outcome. Only the command line runs it; tests and benchmarks use ``workload/``; no library code
may.
"""
