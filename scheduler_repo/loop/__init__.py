"""The scheduler loop of a scaling group: ticks that read, plan and write, one by one or until it is stopped.

Callers make a SchedulerLoop, and ``tick()`` it or have it ``run(stop)``.
"""
