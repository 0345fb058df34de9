"""Agents that hold more than they have."""

# The sums over the kernels themselves, whatever the counters say.
OVERCOMMITTED = """
SELECT count(*) FROM (
    SELECT k.agent_id FROM kernels AS k
    JOIN agent_slots AS s ON s.agent_id = k.agent_id AND s.slot_name = 'cpu'
    WHERE k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
    GROUP BY k.agent_id, s.capacity HAVING sum(k.occupied_slots[1]) > s.capacity
) AS over
"""
