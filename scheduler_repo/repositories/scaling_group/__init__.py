"""Scaling groups: their options, totals and grants; and the slot types of the cluster.

Callers use ScalingGroupRepository, with a ScalingGroupCacheSource where totals may be some seconds old.
"""
