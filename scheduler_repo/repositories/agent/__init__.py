"""The agents of scaling groups: their ledgers, heartbeats, and their life from registered to terminated.

Callers use AgentRepository; only it, and the loader of whole clusters, use AgentDBSource. A batch of
changes or reports is decided in ``scheduling/admission/agents.py`` and ``agent_reports.py``; the
counters that sessions change are in ``database/agent_counters.py``.
"""
