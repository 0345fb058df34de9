"""Limits of policies and quotas: checked before any query, written as columns, read as vectors."""

from collections.abc import Mapping, Sequence
from typing import Optional

from scheduler_repo.database.bulk import array_text
from scheduler_repo.errors import InvalidQuantity
from scheduler_repo.slots import checked_int32, checked_quantity, slot_vector
from scheduler_repo.types import SlotLimits, SlotName


def check_slot_limits(limits: Mapping[SlotName, Optional[int]], subject: str) -> None:
    """Raise InvalidQuantity for what is no mapping, or holds what is neither an amount nor None."""
    amounts = _amounts(limits, subject)
    # Against its own names: which slots there are only the database knows.
    slot_vector(amounts, tuple(amounts), subject)


def slot_limits_text(
    limits: Mapping[SlotName, Optional[int]], slot_names: Sequence[SlotName], subject: str
) -> str:
    """Write limits as the text of a bigint[], by the order of ``slot_names``.

    Raises InvalidQuantity, and UnknownSlotType for a slot that is not in ``slot_names``, limited or not.
    """
    amounts = slot_vector(_amounts(limits, subject), slot_names, subject)
    return array_text(
        tuple(
            None if limits.get(name) is None else amount
            for name, amount in zip(slot_names, amounts, strict=True)
        )
    )


def checked_count(count: Optional[int], subject: str) -> Optional[int]:
    """Return a limit on a number of things; raises InvalidInput for what is none, or above 31 bits."""
    return None if count is None else checked_int32(checked_quantity(count, subject), subject)


def read_slot_limits(stored: Sequence[Optional[int]], width: int) -> SlotLimits:
    """Return stored limits with one element per slot: what is missing at the end is no limit."""
    return tuple(stored) + (None,) * (width - len(stored))


def _amounts(limits: Mapping[SlotName, Optional[int]], subject: str) -> Mapping[SlotName, int]:
    """What is limited, and 0 for what is not."""
    given: object = limits
    if not isinstance(given, Mapping):
        raise InvalidQuantity(f"{subject}: {given!r:.60} is no mapping of slot names to limits")
    return {name: 0 if amount is None else amount for name, amount in limits.items()}
