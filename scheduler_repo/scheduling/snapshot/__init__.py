"""SchedulingData: the raw rows of one read, the transforms that build it, and its encoding for caches.

The scheduler repository fills the rows in one transaction; everything here runs after it is closed.
"""
