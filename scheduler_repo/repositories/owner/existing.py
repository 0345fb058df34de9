"""Owners that others refer to must exist."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.errors import OwnerNotFound
from scheduler_repo.quoting import quoted
from scheduler_repo.types import OwnerScope

if TYPE_CHECKING:
    from asyncpg import Record

NAMED_OWNERS = load_statement("owner/named_owners")


async def require_owners(db_sess: SASession, owners: Sequence[tuple[OwnerScope, str]]) -> "list[Record]":
    """Return the rows of named_owners.sql, one per owner; raises OwnerNotFound. Costs one statement.

    Owners are never deleted: what is found stays.
    """
    scopes = [scope.value for scope, _ in owners]
    rows = await fetch_rows(db_sess, NAMED_OWNERS, scopes, [owner_id for _, owner_id in owners])
    for row in rows:
        if not row["is_known"]:
            raise OwnerNotFound(
                f"there is no {row['scope']} {quoted(row['owner_id'], 200)}; correct the scope and id, or "
                "register the owner first; nothing was written"
            )
    return rows
