-- Wait until no allocation is under way, and hold new ones up until the transaction ends.
-- Parameters: none. Index: none, it is an advisory lock.
-- For who makes a quota for an owner without one: it has no row yet that lock_quotas.sql could have locked.
SELECT pg_advisory_xact_lock(hashtextextended('scheduler_repo.quotas', 0))
