-- Which of the named policies exist, locked: none of them changes until the transaction ends.
-- Parameters: $1 names. Index: resource_policies_pkey.
-- Who refers a quota to a policy holds this, so that a change of the policy finds all quotas that refer to it.
SELECT name
FROM resource_policies
WHERE name = ANY ($1::text[])
ORDER BY name
FOR SHARE
