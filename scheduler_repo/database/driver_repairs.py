"""Repairs of the driver, made where the engine is."""

from typing import Final, Optional

from asyncpg import connect_utils


class _QuietTLSUpgrade(connect_utils.TLSUpgradeProto):  # type: ignore[misc] # the driver says no types of it
    """The first messages over TCP; their outcome is read also where the connecting was cut off.

    Nobody awaits it then, and asyncio would print "Future exception was never retrieved" some time later: after
    a connect that took too long, and where a connection is closed while a statement of it is being cancelled.
    """

    def connection_lost(self, exc: Optional[Exception]) -> None:
        super().connection_lost(exc)
        if not self.on_data.cancelled():
            self.on_data.exception()


def repair_driver() -> None:
    """Make the repairs, for all connections of this process; a second call changes nothing."""
    setattr(connect_utils, _REPAIRED, _QuietTLSUpgrade)


_REPAIRED: Final = "TLSUpgradeProto"
