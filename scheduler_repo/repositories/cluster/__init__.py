"""A whole cluster and its queue, loaded in one transaction; callers use ClusterRepository."""
