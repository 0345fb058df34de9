"""What was read once, brought up to date again and again, and held against a full read of the same snapshot."""

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Final, Optional

import msgspec

from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import FullReadReason, Refresh, SnapshotChanges
from scheduler_repo.repositories.scheduler.changes import fetch_changes
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.scheduling.deltas.apply import Applied, apply_changes
from scheduler_repo.scheduling.deltas.base import IndexedBase
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.snapshot.build import build_scheduling_data
from scheduler_repo.scheduling.snapshot.encoding import decode_scheduling_data, encode_scheduling_data
from scheduler_repo.steps import finish
from scheduler_repo.types import OwnerScope, ScalingGroupName

Question = tuple[ScalingGroupName, Optional[int]]


class HeldAnswers:
    """The answers to some questions; ``outcomes`` counts what came of each refresh."""

    def __init__(
        self,
        source: SchedulerDBSource,
        questions: tuple[Question, ...],
        outcomes: Optional[Counter[str]] = None,
    ) -> None:
        self._source = source
        self._questions = questions
        self._held: dict[Question, IndexedBase] = {}
        self._planners: defaultdict[Question, BestFitPlanner] = defaultdict(BestFitPlanner)
        self._stored: dict[Question, bytes] = {}
        self.outcomes: Counter[str] = Counter() if outcomes is None else outcomes

    def ask(self, source: SchedulerDBSource) -> None:
        """Ask another database from now on."""
        self._source = source

    async def check_all(self) -> None:
        """Bring every answer up to date, and compare it with a full read in the same transaction."""
        for question in self._questions:
            await self.check(question)

    async def check(self, question: Question) -> None:
        """Bring one answer up to date, and compare it with a full read in the same transaction."""
        base = self._held.get(question)
        async with self._source.engine.begin_readonly_session(reuses_plans=True) as db_sess:
            raw = FullReadReason.FIRST if base is None else await fetch_changes(db_sess, base)
            full = await self._source.fetch_raw_scheduling_data(db_sess, *question)
        data = finish(build_scheduling_data(full))
        applied = raw if base is None or isinstance(raw, FullReadReason) else apply_changes(base, raw)
        if base is not None and isinstance(applied, Applied):
            before = base.data
            base.advance(applied.data, applied.edits)
            assert_equal(applied.data, data)
            assert_told(before, applied.data, applied.changes)
            self.outcomes["changes" if applied.changes else "unchanged"] += 1
            refresh = Refresh(applied.data, None, applied.changes, before.token, 0, 0)
        else:
            assert isinstance(applied, FullReadReason)
            self.outcomes[applied.value] += 1
            self._held[question] = IndexedBase(data)
            refresh = Refresh(data, applied, None, None, 0, 0)
        self._plan(self._planners[question], refresh)

    def _plan(self, planner: BestFitPlanner, refresh: Refresh) -> None:
        """Plan from what has changed; nothing of the plans before need have been written."""
        made = planner.plan_changes(refresh)
        assert made.allocations == BestFitPlanner().plan(refresh.data)
        self.outcomes["planned from changes" if made.reason is None else f"planned: {made.reason}"] += 1

    async def crash(self, question: Question) -> None:
        """Read what has changed and end before it is held, be it applied or not."""
        base = self._held.get(question)
        if base is None:
            return
        async with self._source.engine.begin_readonly_session(reuses_plans=True) as db_sess:
            raw = await fetch_changes(db_sess, base)
        if not isinstance(raw, FullReadReason):
            apply_changes(base, raw)

    async def start_from_stored(self, question: Question) -> None:
        """Go on from the bytes that were stored the last time, and store those of now."""
        stored = self._stored.get(question)
        if stored is not None:
            self._held[question] = IndexedBase(finish(decode_scheduling_data(stored)))
        await self.check(question)
        self._stored[question] = finish(encode_scheduling_data(self._held[question].data))


_ONCE: Final = datetime(2026, 1, 1, tzinfo=UTC)


def assert_equal(one: SchedulingData, other: SchedulingData) -> None:
    """Both are of the same snapshot, and encode to the same bytes."""
    assert one.token == other.token
    assert_same(one, other)


def assert_same(one: SchedulingData, other: SchedulingData) -> None:
    """Both encode to the same bytes, at whatever instant they were read: others write to the server too."""
    other = msgspec.structs.replace(other, token=one.token)
    if encoded(one) != encoded(other):
        for field in SchedulingData.__struct_fields__:
            if field != "observed_at":
                assert getattr(one, field) == getattr(other, field), field
        raise AssertionError("all fields are equal, and their encodings differ")


def encoded(data: SchedulingData) -> bytes:
    """The bytes of an answer, whenever it was read."""
    return finish(encode_scheduling_data(msgspec.structs.replace(data, observed_at=_ONCE)))


def assert_told(before: SchedulingData, now: SchedulingData, changes: SnapshotChanges) -> None:
    """The changes name all that differs, and what does not is shared."""
    for field, told in (
        ("pending_sessions", changes.sessions),
        ("agents", changes.agents),
        ("preemption_candidates", changes.candidates),
    ):
        id_field = "agent_id" if field == "agents" else "session_id"
        old = {getattr(each, id_field): each for each in getattr(before, field)}
        new = {getattr(each, id_field): each for each in getattr(now, field)}
        differing = {key for key in {*old, *new} if old.get(key) != new.get(key)}
        assert differing == set(told), field
        if field == "pending_sessions":
            entered = {each.session_id: each for each in changes.entered}
            assert entered == {key: new[key] for key in told if key in new}
        assert all(old[key] is new[key] for key in {*old, *new}.difference(told)), field
        if not told and field != "preemption_candidates":
            assert getattr(before, field) is getattr(now, field)
    owners = {(scope, each.owner_id): each for scope in OwnerScope for each in before.owners_of(scope)}
    now_owners = {(scope, each.owner_id): each for scope in OwnerScope for each in now.owners_of(scope)}
    differing = {key for key in {*owners, *now_owners} if owners.get(key) != now_owners.get(key)}
    assert differing == set(changes.owners)
    assert changes.reservations == (before.reservations != now.reservations)
    assert changes.scaling_group == (before.scaling_group != now.scaling_group)
