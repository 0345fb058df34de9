-- The vfolders that one session mounts, by path.
-- Parameters: $1 session. Index: session_vfolder_mounts_pkey, vfolders_pkey.
SELECT v.id, v.name, v.host, v.user_id, v.project_id, v.created_at, m.mount_path, m.permission
FROM session_vfolder_mounts AS m
JOIN vfolders AS v ON v.id = m.vfolder_id
WHERE m.session_id = $1
ORDER BY m.mount_path COLLATE "C"
