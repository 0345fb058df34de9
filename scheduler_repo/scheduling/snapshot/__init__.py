"""SchedulingData: the raw rows of one read, the transforms that build it, and its encoding for caches.

The scheduler repository fills the rows in one transaction. What is large is built while the server works on the
next statement, so that the connection is not held any longer for it; the rest after the transaction is closed.
"""
