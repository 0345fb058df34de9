-- One page of the vfolders of a user, by id.
-- Parameters: $1 user, $2 the last id of the page before (NULL: the first page), $3 how many.
-- Index: vfolders_user_id_idx.
SELECT id, name, host, user_id, project_id, created_at
FROM vfolders
WHERE user_id = $1 AND ($2::uuid IS NULL OR id > $2)
ORDER BY id
LIMIT $3
