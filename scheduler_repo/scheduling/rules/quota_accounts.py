"""The usage of the pending sessions' owners, charged as sessions are placed within one plan."""

from collections.abc import Sequence
from itertools import chain
from typing import Optional

from scheduler_repo.entities.obstacles import OwnerBreach, QuotaBreach, QuotaKind
from scheduler_repo.entities.scheduling_data import AnyOwnerUsage, PendingSession, SchedulingData
from scheduler_repo.errors import InvalidInput
from scheduler_repo.scheduling.rules.feasibility import (
    amount_at,
    limit_breach,
    slot_limit_breach,
    total_slots,
)
from scheduler_repo.types import OwnerIds, OwnerScope, SlotVector, owner_ids

# Every placement passes here, and looking a member up takes as long as the check itself.
_KERNELS, _SESSIONS = QuotaKind.KERNELS_PER_SESSION, QuotaKind.CONCURRENT_SESSIONS


class OwnerAccount:
    """One owner's limits, and what it occupies so far."""

    def __init__(self, scope: OwnerScope, usage: AnyOwnerUsage) -> None:
        """Begin with the usage as it was read, and keep it."""
        self.scope = scope
        self.reset(usage)

    def reset(self, usage: AnyOwnerUsage) -> None:
        """Begin again, with the usage of another snapshot."""
        self.usage = usage
        self.occupied = usage.occupied
        self.session_count = usage.session_count
        limits = (usage.max_concurrent_sessions, usage.max_kernels_per_session, *usage.slot_limits)
        self.is_limited = any(limit is not None for limit in limits)

    def charge(self, slots: SlotVector, sessions: int = 1) -> None:
        """Count slots and sessions that it occupies more."""
        self.occupied = total_slots((self.occupied, slots))
        self.session_count += sessions

    def breaches(self, requested: SlotVector, kernel_count: int) -> tuple[Optional[QuotaBreach], ...]:
        """Check kernels per session, then sessions, then slots; in the same order for every owner."""
        usage = self.usage
        sessions, most = self.session_count, usage.max_concurrent_sessions
        return (
            limit_breach(_KERNELS, None, 0, kernel_count, usage.max_kernels_per_session),
            limit_breach(_SESSIONS, None, sessions, 1, most),
            slot_limit_breach(requested, self.occupied, usage.slot_limits),
        )

    def breaches_still(self, kind: QuotaKind, slot_index: Optional[int], requested: int) -> bool:
        """Check again the one limit that a request of so much passed."""
        usage = self.usage
        used, limit = 0, usage.max_kernels_per_session
        if kind is _SESSIONS:
            used, limit = self.session_count, usage.max_concurrent_sessions
        elif slot_index is not None:
            used = amount_at(self.occupied, slot_index)
            limit = usage.slot_limits[slot_index] if slot_index < len(usage.slot_limits) else None
        return limit_breach(kind, slot_index, used, requested, limit) is not None


class _Accounts(dict[object, OwnerAccount]):
    """The accounts of a scope's owners by id; each is opened when it is first looked up."""

    def __init__(self, scope: OwnerScope, usages: Sequence[AnyOwnerUsage]) -> None:
        super().__init__()
        self._scope = scope
        self._usages: dict[object, AnyOwnerUsage] = {usage.owner_id: usage for usage in usages}

    def __missing__(self, owner_id: object) -> OwnerAccount:
        account = self[owner_id] = OwnerAccount(self._scope, self._usages[owner_id])
        return account

    def knows(self, owner_id: object) -> bool:
        """Whether the snapshot has an owner."""
        return owner_id in self._usages


class OwnerLedger:
    """The four owners' accounts of every pending session of a snapshot."""

    def __init__(self, data: SchedulingData) -> None:
        self._by_scope = tuple(_Accounts(scope, data.owners_of(scope)) for scope in OwnerScope)
        self._limited: dict[OwnerIds, list[OwnerAccount]] = {}

    def breach(self, session: PendingSession, requested: SlotVector) -> Optional[OwnerBreach]:
        """Find the first limit that the session would pass: kernels per session, then sessions, then slots.

        ``requested`` is the sum over its kernels. Within a kind the scopes come in the order of OwnerScope.
        Raises InvalidInput if an owner of the session is not in the snapshot, as its limits are unknown.
        """
        owners = owner_ids(session)
        accounts = self._limited.get(owners)
        if accounts is None:
            accounts = [account for account in self.accounts(session) if account.is_limited]
            self._limited[owners] = accounts
        if not accounts:
            return None
        kernel_count = len(session.kernels)
        by_kind = zip(*(account.breaches(requested, kernel_count) for account in accounts), strict=True)
        for account, breach in zip(accounts * 3, chain.from_iterable(by_kind), strict=True):
            if breach is not None:
                return OwnerBreach(account.scope, str(account.usage.owner_id), breach)
        return None

    def charge(self, owned: object, slots: SlotVector, sessions: int = 1) -> None:
        """Count slots and sessions for the owners of what has their ids, those that the snapshot has."""
        owners = owner_ids(owned)
        accounts = self._limited.get(owners)
        if accounts is None:
            scopes = zip(owners, self._by_scope, strict=True)
            accounts = [known[owner_id] for owner_id, known in scopes if known.knows(owner_id)]
        for account in accounts:
            account.charge(slots, sessions)

    def accounts(self, session: PendingSession) -> tuple[OwnerAccount, ...]:
        """Return the accounts of a session's owners in the order of OwnerScope; raises as ``breach`` does."""
        owners = owner_ids(session)
        for scope, owner_id, known in zip(OwnerScope, owners, self._by_scope, strict=True):
            if not known.knows(owner_id):
                raise missing_owner(session, scope, owner_id)
        return tuple(known[owner_id] for owner_id, known in zip(owners, self._by_scope, strict=True))


def missing_owner(session: PendingSession, scope: OwnerScope, owner_id: object) -> InvalidInput:
    """Build the error for data without an owner of one of its sessions."""
    return InvalidInput(
        f"session {session.session_id}: its owner {scope} {owner_id} is not in the scheduling data, so its "
        "limits are unknown; give the data as it was read"
    )
