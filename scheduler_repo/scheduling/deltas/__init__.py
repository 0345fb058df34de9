"""Changes since a snapshot: what the log says, an indexed base, and the one applied to the other.

The scheduler repository fills the rows in one transaction; everything here is pure.
"""
