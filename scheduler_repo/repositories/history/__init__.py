"""Scheduling history: the changes of sessions, kernels and agents, read only.

Callers use HistoryRepository; only it uses HistoryDBSource. Each write of a status adds its row of history by
itself, in its own transaction, and a purge removes it: nothing here writes.
"""
