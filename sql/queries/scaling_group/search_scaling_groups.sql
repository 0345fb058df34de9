-- One page of the scaling groups that a filter finds, by name.
-- Parameters: NULL where it is not asked; $1 whether it is active, $2 whether it is public, $3 how its name begins,
--             $4 the last group of the page before, $5 how many at the most (NULL: all).
-- Index: scaling_groups_pkey, in this order.
SELECT name, is_active, is_public, pending_timeout, preemption_scope, preemption_min_runtime, created_at
FROM scaling_groups
WHERE ($1::boolean IS NULL OR is_active = $1)
  AND ($2::boolean IS NULL OR is_public = $2)
  AND ($3::text IS NULL OR starts_with(name, $3))
  AND ($4::text IS NULL OR name > $4)
ORDER BY name
LIMIT $5
