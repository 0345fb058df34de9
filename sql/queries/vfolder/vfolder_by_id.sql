-- One vfolder, whoever owns it.
-- Parameters: $1 vfolder. Index: vfolders_pkey.
SELECT id, name, host, user_id, project_id, created_at FROM vfolders WHERE id = $1
