-- What is held for the pending sessions of a group: each kernel on its agent, in the order in which it was reserved.
-- Parameters: $1 scaling group.
-- Index: reservations_scaling_group_idx, kernel_reservations_session_id_idx, kernels_pkey.
SELECT r.session_id, r.position, h.kernel_id, h.agent_id, k.requested_slots
FROM reservations AS r
JOIN kernel_reservations AS h ON h.session_id = r.session_id
JOIN kernels AS k ON k.id = h.kernel_id
WHERE r.scaling_group = $1
ORDER BY r.position, k.kernel_index, k.id
