"""What the owners of the pending sessions occupy, counted on as sessions are placed within one plan."""

from collections.abc import Iterator
from itertools import chain
from typing import Optional

from scheduler_repo.entities.obstacles import OwnerBreach, QuotaBreach
from scheduler_repo.entities.scheduling_data import AnyOwnerUsage, PendingSession, SchedulingData
from scheduler_repo.errors import InvalidInput
from scheduler_repo.scheduling.rules.feasibility import (
    kernel_limit_breach,
    session_limit_breach,
    slot_limit_breach,
    total_slots,
)
from scheduler_repo.types import OwnerIds, OwnerScope, SlotVector, owner_ids


class _Account:
    """One owner's limits, and what it occupies so far."""

    def __init__(self, scope: OwnerScope, usage: AnyOwnerUsage) -> None:
        self.scope = scope
        self.owner_id = str(usage.owner_id)
        self.slot_limits = usage.slot_limits
        self.max_concurrent_sessions = usage.max_concurrent_sessions
        self.max_kernels_per_session = usage.max_kernels_per_session
        self.occupied = usage.occupied
        self.session_count = usage.session_count

    @property
    def is_limited(self) -> bool:
        return (
            self.max_concurrent_sessions is not None
            or self.max_kernels_per_session is not None
            or any(limit is not None for limit in self.slot_limits)
        )

    def breaches(self, requested: SlotVector, kernel_count: int) -> Iterator[Optional[QuotaBreach]]:
        """Check kernels per session, then sessions, then slots; in the same order for every owner."""
        yield kernel_limit_breach(kernel_count, self.max_kernels_per_session)
        yield session_limit_breach(self.session_count, self.max_concurrent_sessions)
        yield slot_limit_breach(requested, self.occupied, self.slot_limits)


class OwnerLedger:
    """The four owners' accounts of every pending session of a snapshot.

    Raises InvalidInput if a session's owner is not among those of the snapshot, as its limits are unknown.
    """

    def __init__(self, data: SchedulingData) -> None:
        self._by_scope: tuple[dict[object, _Account], ...] = tuple(
            {usage.owner_id: _Account(scope, usage) for usage in data.owners_of(scope)} for scope in OwnerScope
        )
        self._limited: dict[OwnerIds, tuple[_Account, ...]] = {}

    def breach(self, session: PendingSession, requested: SlotVector) -> Optional[OwnerBreach]:
        """Find the first limit that the session would pass: kernels per session, then sessions, then slots.

        ``requested`` is the sum over its kernels. Within a kind the scopes come in the order of OwnerScope.
        """
        accounts = self._accounts(session)
        if not accounts:
            return None
        kernel_count = len(session.kernels)
        by_kind = zip(*(account.breaches(requested, kernel_count) for account in accounts), strict=True)
        for account, breach in zip(accounts * 3, chain.from_iterable(by_kind), strict=True):
            if breach is not None:
                return OwnerBreach(account.scope, account.owner_id, breach)
        return None

    def charge(self, session: PendingSession, requested: SlotVector) -> None:
        """Count a session as placed for its owners."""
        for account in self._accounts(session):
            account.occupied = total_slots((account.occupied, requested))
            account.session_count += 1

    def _accounts(self, session: PendingSession) -> tuple[_Account, ...]:
        """Return the accounts that have any limit; the others allow everything."""
        owners = owner_ids(session)
        accounts = self._limited.get(owners)
        if accounts is None:
            for scope, owner_id, known in zip(OwnerScope, owners, self._by_scope, strict=True):
                if owner_id not in known:
                    raise InvalidInput(
                        f"session {session.session_id}: its owner {scope} {owner_id} is not in the scheduling "
                        "data, so its limits are unknown; give the data as it was read"
                    )
            accounts = tuple(
                account
                for owner_id, known in zip(owners, self._by_scope, strict=True)
                if (account := known[owner_id]).is_limited
            )
            self._limited[owners] = accounts
        return accounts
