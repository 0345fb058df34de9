-- End kernels that occupy agents.
-- Parameters: $1 kernels. Index: kernels_pkey.
UPDATE kernels
SET status = 'TERMINATED', status_changed_at = now()
WHERE id = ANY ($1::uuid[]) AND status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
RETURNING id
