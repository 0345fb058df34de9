"""Row locks that several writers take, in the one order that all of them keep."""

from scheduler_repo.database.statements import load_statement

LOCK_SESSIONS = load_statement("session/lock_sessions")
LOCK_QUOTAS = load_statement("quota/lock_quotas")
CHANGE_SESSIONS = load_statement("lifecycle/change_sessions")
