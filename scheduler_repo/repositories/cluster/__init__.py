"""A whole cluster and its queue, loaded in one transaction.

Callers use ClusterRepository. It is the one repository that uses those of other entities: it checks and adds
slot types, groups, owners, agents and sessions as they do.
"""
