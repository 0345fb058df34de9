-- How many kernels occupy each agent of a batch, counted from the kernels; no row for an agent that has none.
-- Parameters: $1 agents. Index: kernels_occupying_idx.
SELECT agent_id, count(*) AS kernels
FROM kernels
WHERE agent_id = ANY ($1::text[]) AND status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
GROUP BY agent_id
