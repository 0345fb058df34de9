"""Slot types: the kinds of resource that agents offer and kernels request."""

import msgspec

from scheduler_repo.entities.spec import Spec
from scheduler_repo.types import SlotName


class SlotTypeSpec(Spec, frozen=True, kw_only=True):
    """A slot type to register; ``units_per_whole`` smallest units make one unit as people write it."""

    name: SlotName
    units_per_whole: int = 1
    display_unit: str = ""


class SlotType(msgspec.Struct, frozen=True, gc=False):
    """A slot type that exists; its amount stands at ``slot_index`` in every vector of amounts."""

    name: SlotName
    slot_index: int
    units_per_whole: int
    display_unit: str
