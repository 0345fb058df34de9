-- What locked sessions had mounted, as it is archived.
-- Parameters: $1 sessions. Index: session_vfolder_mounts_pkey.
SELECT session_id, vfolder_id, mount_path, permission
FROM session_vfolder_mounts
WHERE session_id = ANY ($1::uuid[])
ORDER BY session_id, mount_path
