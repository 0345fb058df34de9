"""Amounts of resources: exact whole numbers in each slot's smallest unit, arranged by slot index."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Optional

from scheduler_repo.errors import InvalidQuantity, UnknownSlotType
from scheduler_repo.quoting import quoted, shortened
from scheduler_repo.types import SlotLimits, SlotName, SlotVector
from scheduler_repo.validation import MAX_QUANTITY, check_amount


def format_quantity(amount: int, units_per_whole: int) -> str:
    """Write smallest units as a decimal of whole units, without trailing zeros."""
    # Apart, as a decimal has 28 digits, and a sum may have more.
    whole, rest = divmod(abs(amount), units_per_whole)
    sign = "-" if amount < 0 else ""
    if not rest:
        return f"{sign}{whole}"
    return f"{sign}{whole}{format((Decimal(rest) / units_per_whole).normalize(), 'f').removeprefix('0')}"


def slot_vector(amounts: Mapping[SlotName, int], slot_names: Sequence[SlotName], subject: str) -> SlotVector:
    """Arrange ``amounts`` by the order of ``slot_names``, 0 where there is none.

    Raises InvalidQuantity for an amount that cannot be stored and UnknownSlotType for a name that is not in
    ``slot_names``; both name ``subject``.
    """
    given: object = amounts
    if not isinstance(given, Mapping):
        raise InvalidQuantity(f"{subject}: {quoted(given)} is no mapping of slot names to amounts")
    for name, amount in amounts.items():
        if type(amount) is not int or not 0 <= amount <= MAX_QUANTITY:
            check_amount(amount, f"{subject}, slot {shortened(name)}")
    unknown = sorted(map(str, set(amounts).difference(slot_names)))
    if unknown:
        raise UnknownSlotType(
            f"{subject}: unknown slot {shortened(', '.join(unknown))}; the cluster has "
            f"{shortened(', '.join(slot_names)) or 'none'}",
            slot_names=tuple(name for name in amounts if name not in slot_names),
        )
    return tuple(amounts.get(name, 0) for name in slot_names)


def slot_limits(
    limits: Mapping[SlotName, Optional[int]], slot_names: Sequence[SlotName], subject: str
) -> SlotLimits:
    """Arrange ``limits`` by the order of ``slot_names``, None where there is none; raises as slot_vector."""
    given: object = limits
    if not isinstance(given, Mapping):
        raise InvalidQuantity(f"{subject}: {quoted(given)} is no mapping of slot names to limits")
    # A slot that does not exist is refused, limited or not.
    amounts = {name: 0 if amount is None else amount for name, amount in limits.items()}
    arranged = zip(slot_names, slot_vector(amounts, slot_names, subject), strict=True)
    return tuple(None if limits.get(name) is None else amount for name, amount in arranged)


def check_slot_limits(limits: Mapping[SlotName, Optional[int]], subject: str) -> None:
    """Raise InvalidQuantity as slot_limits does, where only the database knows which slots there are."""
    given: object = limits
    slot_limits(limits, tuple(given) if isinstance(given, Mapping) else (), subject)


def read_slot_limits(stored: Sequence[Optional[int]], width: int) -> SlotLimits:
    """Return stored limits with one element per slot: what is missing at the end is no limit."""
    return tuple(stored) + (None,) * (width - len(stored))


def fitted(amounts: Sequence[int], width: int) -> SlotVector:
    """Return amounts as a vector of the known slots, longer only where there is something beyond them."""
    end = len(amounts)
    while end > width and not amounts[end - 1]:
        end -= 1
    return tuple(amounts[:end]) + (0,) * (width - end)
