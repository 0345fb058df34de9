"""How much of a long history is over, and how much is not."""

from typing import Final

FINISHED: Final = 6_000
PENDING: Final = 300
RUNNING: Final = 300
