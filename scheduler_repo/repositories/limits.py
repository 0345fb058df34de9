"""Limits of policies and quotas: checked before any query, written as columns, read as vectors."""

from collections.abc import Mapping, Sequence
from typing import Optional

from scheduler_repo.database.bulk import array_text
from scheduler_repo.errors import InvalidQuantity
from scheduler_repo.quoting import quoted
from scheduler_repo.slots import checked_int32, checked_quantity, slot_limits
from scheduler_repo.types import SlotLimits, SlotName


def check_slot_limits(limits: Mapping[SlotName, Optional[int]], subject: str) -> None:
    """Raise InvalidQuantity for what is no mapping, or holds what is neither an amount nor None."""
    given: object = limits
    if not isinstance(given, Mapping):
        raise InvalidQuantity(f"{subject}: {quoted(given)} is no mapping of slot names to limits")
    # Against its own names: which slots there are only the database knows.
    slot_limits(limits, tuple(limits), subject)


def slot_limits_text(
    limits: Mapping[SlotName, Optional[int]], slot_names: Sequence[SlotName], subject: str
) -> str:
    """Write checked limits as the text of a bigint[], by the order of ``slot_names``.

    Raises UnknownSlotType for a slot that is not in ``slot_names``, limited or not.
    """
    return array_text(slot_limits(limits, slot_names, subject))


def checked_count(count: Optional[int], subject: str) -> Optional[int]:
    """Return a limit on a number of things; raises InvalidInput for what is none, or above 31 bits."""
    return None if count is None else checked_int32(checked_quantity(count, subject), subject)


def read_slot_limits(stored: Sequence[Optional[int]], width: int) -> SlotLimits:
    """Return stored limits with one element per slot: what is missing at the end is no limit."""
    return tuple(stored) + (None,) * (width - len(stored))
