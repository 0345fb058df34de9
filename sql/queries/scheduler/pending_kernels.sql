-- The kernels that the pending sessions of a group ask for, those of one session together and in their order.
-- The slots as text: requests repeat, and each is read once.
-- Parameters: $1 scaling group, $2 the sessions, where the queue was read with a limit (NULL: all).
-- Index: kernels_pending_idx, which holds only pending kernels, in this order.
SELECT session_id, id AS kernel_id, kernel_index, architecture, requested_slots::text
FROM kernels
WHERE scaling_group = $1 AND status = 'PENDING' AND ($2::uuid[] IS NULL OR session_id = ANY ($2))
ORDER BY session_id, kernel_index
