"""What any instant of a race must look like, from the rows alone."""

# One statement each; the answer is 0.
OVERCOMMITTED = """
SELECT count(*) FROM (
    SELECT k.agent_id, o.position
    FROM kernels AS k, unnest(k.occupied_slots) WITH ORDINALITY AS o (amount, position),
         agent_slots AS s, slot_types AS t
    WHERE k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
      AND t.slot_index = o.position - 1 AND s.agent_id = k.agent_id AND s.slot_name = t.name
    GROUP BY k.agent_id, o.position, s.capacity HAVING sum(o.amount) > s.capacity
    UNION ALL
    SELECT k.agent_id, 0 FROM kernels AS k JOIN agents AS a ON a.id = k.agent_id
    WHERE k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
    GROUP BY k.agent_id, a.max_containers HAVING count(*) > a.max_containers
) AS over
"""
BREACHED = """
SELECT count(*) FROM quotas AS q
WHERE q.max_concurrent_sessions < (
        SELECT count(*) FROM sessions AS s
        WHERE s.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING') AND q.owner_id = CASE q.scope
              WHEN 'ACCESS_KEY' THEN s.access_key WHEN 'USER' THEN s.user_id::text
              WHEN 'PROJECT' THEN s.project_id::text ELSE s.domain_name END)
   OR EXISTS (
        SELECT FROM kernels AS k, unnest(k.occupied_slots) WITH ORDINALITY AS o (amount, position)
        WHERE k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING') AND q.owner_id = CASE q.scope
              WHEN 'ACCESS_KEY' THEN k.access_key WHEN 'USER' THEN k.user_id::text
              WHEN 'PROJECT' THEN k.project_id::text ELSE k.domain_name END
        GROUP BY o.position HAVING sum(o.amount) > q.slot_limits[o.position])
"""
# The rows of a session's history must form one chain: an attempt is allocated once.
BROKEN_CHAINS = """
SELECT count(*) FROM (
    SELECT from_status, lag(to_status) OVER (PARTITION BY session_id ORDER BY id) AS before FROM session_history
) AS rows WHERE from_status IS DISTINCT FROM before
"""
