"""Amounts of resources: exact whole numbers in each slot's smallest unit, checked at the border."""

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Optional

from scheduler_repo.errors import InvalidInput, InvalidQuantity, UnknownSlotType
from scheduler_repo.quoting import quoted, shortened
from scheduler_repo.types import SlotLimits, SlotName, SlotVector

MAX_QUANTITY = 2**63 - 1
_MAX_EXPONENT = 18  # 2**63 has 19 digits

# Rounding is an error here, never a result.
_EXACT = Context(prec=60, traps=[InvalidOperation, Inexact, Overflow])


def checked_quantity(value: object, subject: str) -> int:
    """Return ``value`` if it is a whole number from 0 to 2**63 - 1, in the slot's smallest unit.

    Raises InvalidQuantity, which names ``subject``, for anything else: floats and booleans too, as neither
    says exactly how many units are meant.
    """
    if type(value) is not int:
        raise InvalidQuantity(
            f"{subject}: {quoted(value)} is not a whole number of the slot's smallest unit; give an int"
        )
    if value < 0:
        raise InvalidQuantity(f"{subject}: {quoted(value)} is negative; amounts start at 0")
    if value > MAX_QUANTITY:
        raise InvalidQuantity(
            f"{subject}: {quoted(value)} is above 2^63 - 1, the largest amount that can be stored"
        )
    return value


def checked_int32(value: object, subject: str) -> int:
    """Return ``value`` if it is a whole number of 32 bits with sign; raises InvalidInput, which names it."""
    if type(value) is not int or not -(2**31) <= value < 2**31:
        raise InvalidInput(f"{subject}: {quoted(value)} is not a whole number of 32 bits")
    return value


def parse_quantity(text: str, units_per_whole: int, subject: str) -> int:
    """Read an amount written in whole units, such as ``0.46`` of a GPU, as smallest units.

    Raises InvalidQuantity, which names ``subject``, if it is not a number, negative, not finite, finer than
    the slot's smallest unit, or above 63 bits.
    """
    try:
        amount = _EXACT.multiply(_EXACT.create_decimal(text), Decimal(units_per_whole))
    except InvalidOperation:
        raise InvalidQuantity(f"{subject}: {quoted(text)} is not a number") from None
    except (Inexact, Overflow):
        raise InvalidQuantity(f"{subject}: {quoted(text)} has more digits than any amount can have") from None
    if not amount.is_finite():
        raise InvalidQuantity(f"{subject}: {quoted(text)} is not a finite number")
    if amount.adjusted() > _MAX_EXPONENT:
        raise InvalidQuantity(f"{subject}: {quoted(text)} is above 2^63 - 1 smallest units")
    if amount != amount.to_integral_value():
        raise InvalidQuantity(f"{subject}: {quoted(text)} is finer than the smallest unit, 1/{units_per_whole}")
    return checked_quantity(int(amount), subject)


def format_quantity(amount: int, units_per_whole: int) -> str:
    """Write smallest units as a decimal of whole units, without trailing zeros."""
    whole, rest = divmod(amount, units_per_whole)
    if not rest:
        return str(whole)
    return format((Decimal(amount) / units_per_whole).normalize(), "f")


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
            checked_quantity(amount, f"{subject}, slot {shortened(name)}")
    unknown = sorted(map(str, set(amounts).difference(slot_names)))
    if unknown:
        raise UnknownSlotType(
            f"{subject}: unknown slot {shortened(', '.join(unknown))}; the cluster has "
            f"{shortened(', '.join(slot_names)) or 'none'}"
        )
    return tuple(amounts.get(name, 0) for name in slot_names)


def slot_limits(
    limits: Mapping[SlotName, Optional[int]], slot_names: Sequence[SlotName], subject: str
) -> SlotLimits:
    """Arrange ``limits`` by the order of ``slot_names``, None where there is none; raises as slot_vector."""
    # A slot that does not exist is refused, limited or not.
    amounts = {name: 0 if amount is None else amount for name, amount in limits.items()}
    arranged = zip(slot_names, slot_vector(amounts, slot_names, subject), strict=True)
    return tuple(None if limits.get(name) is None else amount for name, amount in arranged)
