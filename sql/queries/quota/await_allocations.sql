-- Wait until no allocation is under way, and hold new ones up until the transaction ends.
-- Parameters: none. Index: scaling_groups_pkey.
-- For who makes a quota for an owner without one: it has no row yet that lock_quotas.sql could have locked. A row lock
-- takes a privilege, which an advisory lock does not; new sessions and agents of the groups wait meanwhile too.
SELECT name
FROM scaling_groups
ORDER BY name
FOR UPDATE
