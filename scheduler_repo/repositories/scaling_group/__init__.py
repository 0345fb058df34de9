"""Scaling groups: their options, totals and grants; and the slot types of the cluster.

Callers use ScalingGroupRepository, with a ScalingGroupCacheSource where totals may be some seconds old; only
they, and the loader of whole clusters, use ScalingGroupDBSource. Look-ups that other repositories share
(slot types, a group that must exist) are in ``database/lookups.py``.
"""
