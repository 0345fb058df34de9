-- The kernels that the pending sessions of a group ask for, those of one session together and in their order.
-- The slots as text: requests repeat, and each is read once. The session's id as its bytes, to look it up by.
-- Parameters: $1 scaling group, $2 the sessions, where the queue was read with a limit (NULL: all).
-- Index: kernels_pending_idx, which holds only pending kernels, in this order.
SELECT uuid_send(k.session_id) AS session_id, k.id AS kernel_id, k.kernel_index, k.architecture, k.requested_slots::text
FROM kernels AS k
WHERE k.scaling_group = $1 AND k.status = 'PENDING' AND ($2::uuid[] IS NULL OR k.session_id = ANY ($2))
ORDER BY k.session_id, k.kernel_index
