-- Hold capacity on locked agents for locked sessions; their positions are in the order given.
-- Parameters: $1 scaling group, $2 sessions, $3 kernels, $4 the session of each, $5 the agent of each.
-- Index: reservations_pkey, kernel_reservations_pkey.
-- The position is the server's: taken under the agents' locks, it says on each agent who was first.
WITH reserved AS (
    INSERT INTO reservations (session_id, scaling_group, reserved_at)
    SELECT given.session_id, $1, statement_timestamp()
    FROM unnest($2::uuid[]) WITH ORDINALITY AS given (session_id, place)
    ORDER BY given.place
    RETURNING session_id
)
INSERT INTO kernel_reservations (kernel_id, session_id, agent_id)
SELECT given.kernel_id, reserved.session_id, given.agent_id
FROM unnest($3::uuid[], $4::uuid[], $5::text[]) AS given (kernel_id, session_id, agent_id)
JOIN reserved ON reserved.session_id = given.session_id
RETURNING kernel_id
