"""The base of all specs: frozen structs that refuse likely mistakes where they are made."""

import msgspec

from scheduler_repo.validation import check_kinds


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """Raises InvalidInput for a field that must be a tuple, an enum, a flag or a timedelta, and is not."""

    def __post_init__(self) -> None:
        check_kinds(self)
