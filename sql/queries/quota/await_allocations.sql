-- Wait until no allocation is under way, and hold new ones up until the transaction ends.
-- Parameters: none. Index: none, what is locked is the view quota_additions.
-- For who makes a quota for an owner without one: it has no row yet that lock_quotas.sql could have locked.
SELECT hold_quotas(true, true)
