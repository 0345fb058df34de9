"""The rules shared by planner, admission and explanations: feasibility, quotas, reservations, preemption.

A rule is written once here. Where the planner and the write gate disagreed, a session would be rejected for
ever.
"""
