"""Amounts, shares and counts as people read them, in exact whole numbers: no floats."""

from collections.abc import Sequence
from typing import Final, Optional

from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.slots import format_quantity

_BINARY_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def format_amount(amount: int, slot_type: SlotType) -> str:
    """Write smallest units as whole units, such as ``6,212 GPU``; bytes to a tenth of a larger unit."""
    if slot_type.display_unit == "B" and slot_type.units_per_whole == 1:
        return _format_bytes(amount)
    whole, point, rest = format_quantity(amount, slot_type.units_per_whole).partition(".")
    unit = slot_type.display_unit and f" {slot_type.display_unit}"
    return f"{int(whole):,}{point}{rest}{unit}"


def format_percent(part: int, whole: int) -> str:
    """Write a share to a tenth of a per cent, rounded down, so that only a full one shows 100."""
    if whole == 0:
        return "-"
    percent, tenth = divmod(part * 1000 // whole, 10)
    return f"{percent}.{tenth} %"


def format_count(number: int, noun: str, plural: Optional[str] = None) -> str:
    """Write a count with its noun, such as ``1 agent`` or ``1,523 agents``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def sum_slot(amounts: Sequence[Sequence[int]], slot_index: int) -> int:
    """Sum one slot over vectors of amounts; a vector that is too short counts as 0."""
    return sum(vector[slot_index] for vector in amounts if slot_index < len(vector))


def _format_bytes(amount: int) -> str:
    text = f"{amount} B"
    for exponent, unit in enumerate(_BINARY_UNITS, 1):
        if amount >= 1024**exponent:
            whole, tenth = divmod(amount * 10 // 1024**exponent, 10)
            text = f"{whole:,}.{tenth} {unit}"
    return text
