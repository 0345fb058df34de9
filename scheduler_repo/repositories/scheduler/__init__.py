"""One tick of a scheduler: the read of a group's whole state, and the write of its decisions.

Callers use SchedulerRepository, with SchedulerCacheSource where several readers share answers through Redis.
Which allocations still hold is decided in ``scheduling/admission/allocations.py``, on the state that
``database/locked_state.py`` locks and reads.
"""
