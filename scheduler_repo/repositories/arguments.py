"""What callers hand in is of the kind that a method takes: checked before any query."""

from collections.abc import Sequence
from typing import Optional, TypeVar

from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import quoted
from scheduler_repo.repositories.writing import check_text
from scheduler_repo.scheduling.lease import Lease

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
