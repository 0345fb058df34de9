-- Reservations of sessions that do not wait any more, or that wait in another scaling group: what they hold is held for
-- nobody.
-- Parameters: none. Index: sessions_pkey per reservation; reservations is read as a whole, it holds few rows.
SELECT 'reservation' AS entity, r.session_id::text AS entity_id, differing.what, differing.expected, differing.found
FROM reservations AS r
LEFT JOIN LATERAL (SELECT status, scaling_group FROM sessions WHERE id = r.session_id OFFSET 0) AS s ON true
CROSS JOIN LATERAL (VALUES
    ('session status', 'PENDING', coalesce(s.status, 'no such session')),
    ('scaling_group', coalesce(s.scaling_group, r.scaling_group), r.scaling_group)
) AS differing (what, expected, found)
WHERE differing.expected <> differing.found
ORDER BY entity_id, what
