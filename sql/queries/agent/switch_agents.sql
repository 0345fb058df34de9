-- Open locked agents for scheduling, or close them; their status stays.
-- Parameters: $1 agents, $2 whether they are open. Index: agents_pkey.
UPDATE agents
SET is_schedulable = $2
WHERE id = ANY ($1::text[]) AND is_schedulable <> $2
RETURNING id
