"""What is refused before any query, and how that is seen."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Optional, TypeAlias

import pytest

from scheduler_repo.errors import InvalidInput

# Arguments are of the wrong types on purpose.
Ask: TypeAlias = Callable[[Any], Awaitable[object]]


async def refused(
    ask: Ask, values: Iterable[object], error: type[InvalidInput] = InvalidInput, match: Optional[str] = None
) -> None:
    """Expect a refusal of each in words that can be printed, and are not as long as what was given."""
    for value in values:
        with pytest.raises(error, match=match) as refusal:
            await ask(value)
        assert 0 < len(str(refusal.value).encode()) < 1_000
