"""Who holds leases of which cluster, and for how long."""

from datetime import timedelta
from typing import Final

from scheduler_repo.types import LeaseHolder

AGENT: Final = "agent"
ADA: Final = LeaseHolder("ada")
BOB: Final = LeaseHolder("bob")
TTL: Final = timedelta(seconds=60)
SESSIONS: Final = 6
# How long the server keeps the transaction of a holder that is stopped.
IDLE_SECONDS: Final = 20.0
