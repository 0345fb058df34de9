"""Malformed scopes and ids of owners, refused before any query."""

import re
from typing import Final

from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import quoted
from scheduler_repo.types import OwnerScope
from scheduler_repo.validation import check_name

# As PostgreSQL writes it, and the tables' CHECKs want it.
_UUID_TEXT: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SCOPES_BY_ID: Final = (OwnerScope.USER, OwnerScope.PROJECT)


def check_scope(scope: object, refusal: type[InvalidInput] = InvalidInput) -> None:
    """Raise ``refusal`` for what is no OwnerScope, a word included."""
    if not isinstance(scope, OwnerScope):
        words = ", ".join(f"OwnerScope.{known.name}" for known in OwnerScope)
        raise refusal(f"scope {quoted(scope)} is a {type(scope).__name__}; give one of {words}")


def check_owner_id(scope: object, owner_id: object) -> None:
    """Raise InvalidInput for an owner that cannot be: an unknown scope, or an id that the scope cannot have."""
    check_scope(scope)
    check_name(owner_id, f"{scope} id")
    if scope in _SCOPES_BY_ID and not _UUID_TEXT.fullmatch(str(owner_id)):
        raise InvalidInput(
            f"{scope} id {quoted(owner_id)}: a user or project is named by its UUID in lower case, as text"
        )
