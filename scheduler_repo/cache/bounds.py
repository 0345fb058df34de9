"""What times a cache can be given."""

import math
from typing import Final

from scheduler_repo.errors import InvalidInput

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
