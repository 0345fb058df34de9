"""The texts of CHECKs and index conditions that several tables share."""

import enum
from collections.abc import Iterable
from typing import Final

from scheduler_repo.types import FINISHED_STATUSES, OCCUPYING_STATUSES, OWNER_FIELDS, SessionStatus


def is_one_of(column: str, words: Iterable[enum.StrEnum]) -> str:
    """The condition that a column holds one of an enum's words."""
    return f"{column} IN ({_quoted(words)})"


def is_none_of(column: str, words: Iterable[enum.StrEnum]) -> str:
    """The condition that a column holds none of an enum's words."""
    return f"{column} NOT IN ({_quoted(words)})"


def is_amounts(column: str) -> str:
    """The condition that an array holds an amount, 0 or more, for every slot type that it covers."""
    return f"(0 <= ALL ({column})) IS TRUE AND {_is_vector(column)}"


def is_limits(column: str) -> str:
    """The condition that an array holds a limit, 0 or more, or NULL for none, per slot type."""
    return f"0 <= ALL ({column}) AND {_is_vector(column)}"


def is_agent_ids(column: str) -> str:
    """The condition that an array is a list of agents' ids, none of them empty."""
    return f"('' <> ALL ({column})) IS TRUE AND coalesce(array_ndims({column}), 1) = 1"


def _is_vector(column: str) -> str:
    return f"coalesce(array_ndims({column}), 1) = 1 AND coalesce(array_lower({column}, 1), 1) = 1"


def is_finite(column: str) -> str:
    """The condition that a time is one that clients can represent: not infinite, in the years 1 to 9999."""
    return f"{column} BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00'"


def _quoted(words: Iterable[enum.StrEnum]) -> str:
    return ", ".join(f"'{word.value}'" for word in words)


_UUID_PATTERN: Final = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
# Users and projects are named by their ids, access keys and domains by themselves.
_SCOPES_BY_NAME: Final = [scope for scope, fields in OWNER_FIELDS.items() if fields.id_type is str]
IS_OWNER_ID: Final = f"{is_one_of('scope', _SCOPES_BY_NAME)} OR owner_id ~ '{_UUID_PATTERN}'"
IS_PENDING: Final = f"status = '{SessionStatus.PENDING.value}'"
IS_RUNNING: Final = f"status = '{SessionStatus.RUNNING.value}'"
IS_OCCUPYING: Final = is_one_of("status", OCCUPYING_STATUSES)
IS_NOT_OCCUPYING: Final = is_none_of("status", OCCUPYING_STATUSES)
IS_FINISHED: Final = is_one_of("status", FINISHED_STATUSES)
# With dispatched_at still NULL: not every agent of the session may have been told.
IS_UNDISPATCHED: Final = is_one_of("status", (SessionStatus.SCHEDULED, SessionStatus.PREPARING))
