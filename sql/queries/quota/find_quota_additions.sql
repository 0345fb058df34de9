-- Who adds a quota for an owner without one at this moment, if a batch would have to wait for it; else NULL, and what
-- lock_quotas.sql waits for first is locked.
-- Parameters: none. Index: none, what is locked is the view quota_additions.
SELECT CASE
    WHEN hold_quotas(false, false) THEN NULL
    ELSE ARRAY(
        SELECT pid
        FROM pg_locks
        WHERE relation = 'quota_additions'::regclass AND granted AND mode = 'ShareRowExclusiveLock'
        ORDER BY pid
    )
END AS pids
