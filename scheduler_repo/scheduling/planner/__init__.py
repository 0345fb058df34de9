"""The best-fit planner and the capacity index that it searches.

Called by the scheduler loop and by the explanations; users may write planners of their own instead.
"""
