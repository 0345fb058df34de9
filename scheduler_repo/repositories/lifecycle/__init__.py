"""The life of sessions after placement: dispatched, running, ended, or back in the queue.

Callers use LifecycleRepository. Which changes of a batch are allowed is decided in
``scheduling/admission/transitions.py`` by the table in ``entities/transitions.py``;
``database/status_changes.py`` makes them, for sessions and reservations too.
"""
