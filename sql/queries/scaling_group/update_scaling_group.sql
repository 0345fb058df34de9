-- Change options of one scaling group; answers with all of them, and no row if there is no such group.
-- Parameters: $1 scaling group; NULL where it stays: $2 whether it is active, $3 whether it is public,
--             $4 the shortest run before preemption; $5 whether the pending timeout changes, $6 to what (NULL: none),
--             $7 whether the preemption scope changes, $8 to what (NULL: none).
-- Index: scaling_groups_pkey.
UPDATE scaling_groups
SET is_active = coalesce($2::boolean, is_active),
    is_public = coalesce($3::boolean, is_public),
    preemption_min_runtime = coalesce($4::interval, preemption_min_runtime),
    pending_timeout = CASE WHEN $5::boolean THEN $6::interval ELSE pending_timeout END,
    preemption_scope = CASE WHEN $7::boolean THEN $8::text ELSE preemption_scope END
WHERE name = $1
RETURNING name, is_active, is_public, pending_timeout, preemption_scope, preemption_min_runtime, created_at
