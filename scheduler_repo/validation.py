"""Argument checks, made before any query."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Optional, TypeVar
from uuid import UUID

from scheduler_repo.database.bulk import array_text
from scheduler_repo.entities.lease import Lease
from scheduler_repo.errors import InvalidInput, InvalidQuantity
from scheduler_repo.quoting import printable, quoted
from scheduler_repo.slots import checked_int32, checked_quantity, slot_limits
from scheduler_repo.types import SlotLimits, SlotName
from scheduler_repo.wiring import check_wiring as check_wiring


def check_items(items: Iterable[object], kind: type) -> None:
    """Raise InvalidInput for the first item that is not of the kind that the method takes."""
    for item in items:
        if not isinstance(item, kind):
            found = type(item).__name__
            raise InvalidInput(f"{quoted(item)} is a {found}; give a {kind.__name__} for each session")


def check_ids(entity: str, ids: Iterable[object]) -> None:
    """Raise InvalidInput for the first id that is no UUID; ``entity`` says whose it is to be."""
    for given in ids:
        if not isinstance(given, UUID):
            raise InvalidInput(f"{entity} id {quoted(given)} is a {type(given).__name__}, it must be a UUID")


def check_agent_ids(agent_ids: object) -> None:
    """Raise InvalidInput unless it is a list of texts; a NUL is let through, as an id that no agent has."""
    for given in checked_sequence(agent_ids, "agent ids"):
        if not isinstance(given, str):
            raise InvalidInput(f"agent id {quoted(given)} is a {type(given).__name__}, it must be a str")
        if not (given.isascii() or printable(given) == given):
            raise InvalidInput(f"agent id {quoted(given)} has half of a surrogate pair, it is no text")


def check_text(value: object, subject: str) -> None:
    """Raise InvalidInput for what is no text, or holds a NUL or a lone surrogate; ``subject`` is named."""
    if not isinstance(value, str) or "\x00" in value or not (value.isascii() or printable(value) == value):
        raise InvalidInput(
            f"{subject} {quoted(value)} is no text that can be stored; leave out NUL and surrogates"
        )


T = TypeVar("T")


def checked_batch(items: object, kind: type[T], subject: str) -> list[T]:
    """Return a list of structs of one kind; raises InvalidInput for what is none. ``subject`` names them."""
    batch = []
    for item in checked_sequence(items, subject):
        if not isinstance(item, kind):
            raise InvalidInput(
                f"{subject}: {quoted(item)} is a {type(item).__name__}; give a {kind.__name__} for each"
            )
        batch.append(item)
    return batch


def checked_sequence(items: object, subject: str) -> Sequence[object]:
    """Return ``items``; raises InvalidInput for what is no list, such as None or one thing for several."""
    if not isinstance(items, Sequence) or isinstance(items, (str, bytes, bytearray)):
        found = "one text" if isinstance(items, str) else f"a {type(items).__name__}"
        raise InvalidInput(f"{subject} are {quoted(items)}, {found}; give a list or a tuple")
    return items


def check_name(value: object, subject: str) -> None:
    """Raise InvalidInput for what is no text that can be stored, or is empty; ``subject`` is named."""
    check_text(value, subject)
    if not value:
        raise InvalidInput(f"{subject} is empty; give it one")


def check_flag(value: object, subject: str) -> None:
    """Raise InvalidInput for what is neither True nor False."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{subject} is {quoted(value)}, it must be True or False")


def check_lease(lease: Optional[object]) -> None:
    """Raise InvalidInput for what is neither a Lease nor None."""
    if lease is not None and not isinstance(lease, Lease):
        found = type(lease).__name__
        raise InvalidInput(f"lease {quoted(lease)} is a {found}; give what acquire_lease() answers, or None")
    if lease is not None:
        check_name(lease.scaling_group, "the lease's scaling group")
        check_name(lease.holder, "the lease's holder")
        if type(lease.epoch) is not int or not 0 <= lease.epoch < 2**63:
            raise InvalidInput(
                f"the lease's epoch is {quoted(lease.epoch)}; give the lease as acquire_lease() answered it"
            )


_SHORTEST: Final = 0.001
_LONGEST: Final = 86_400.0


def check_staleness(max_staleness: object) -> None:
    """Refuse what is no number of seconds, 0 or more; raises InvalidInput."""
    if not 0 <= _number(max_staleness) < math.inf:
        raise InvalidInput(f"max_staleness {max_staleness!r:.40} is no number of seconds; give 0 or more")


def check_seconds(name: str, seconds: object) -> None:
    """Refuse what a cache cannot wait, or keep an entry for; raises InvalidInput."""
    if not _SHORTEST <= _number(seconds) <= _LONGEST:
        raise InvalidInput(
            f"{name} {seconds!r:.40} is out of range; give {_SHORTEST:g} to {_LONGEST:g} seconds"
        )


def _number(given: object) -> float:
    """The number given, or one that is in no range; a bool is an int to Python."""
    return math.nan if isinstance(given, bool) or not isinstance(given, (int, float)) else given


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
