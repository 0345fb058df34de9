"""The best-fit planner, the capacity index that it searches, and what it remembers from plan to plan.

Called by the scheduler loop and by the explanations; users may write planners of their own instead.
"""
