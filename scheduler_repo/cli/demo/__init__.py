"""The command ``demo``: loads a cluster and places its queue, on its own servers or on those of the user.

``run`` takes a cluster of ``scheduler_repo.workload`` through every phase, ``display`` shows the run meanwhile,
``summary`` its outcome and how to reach servers that are left running. Only ``commands/demo.py`` runs it.
"""
