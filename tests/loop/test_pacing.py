"""When a loop does something next, by a clock that only the test moves."""

import asyncio
from typing import Final, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_repo.entities.lifecycle import UndispatchedSession
from scheduler_repo.errors import InvalidSettings
from scheduler_repo.loop.pacing import Backoff, RunSettings, Stopping
from scheduler_repo.loop.sweeps import Reach, Schedule, Sweep, Sweeps
from scheduler_repo.loop.telling import LARGEST_BATCH, Tellings
from tests.support.small_cluster import session_id
from tests.support.waiting import PATIENCE

FIRST: Final = 0.2
LONGEST: Final = 30.0

# Whole, so that sums of them are exact.
seconds = st.integers(1, 100).map(float)


class TestBackoff:
    @given(failures=st.integers(1, 5_000))
    def test_grows_to_a_bound_and_begins_anew(self, failures: int) -> None:
        backoff = Backoff(FIRST, LONGEST)
        waits = [backoff.next_wait() for _ in range(failures)]
        for number, wait in enumerate(waits):
            whole = min(FIRST * 2 ** min(number, 30), LONGEST)
            assert whole / 2 <= wait <= whole
        backoff.reset()
        assert backoff.next_wait() <= FIRST

    def test_processes_do_not_come_back_together(self) -> None:
        assert len({Backoff(FIRST, LONGEST).next_wait() for _ in range(20)}) > 1


class TestSettings:
    @pytest.mark.parametrize(
        ("field", "value", "advice"),
        [
            ("interval", 0.0, "RunSettings.interval is 0.0, it must be seconds above 0"),
            ("stop_timeout", "10", "RunSettings.stop_timeout"),
            ("first_backoff", 11.0, "first_backoff is above longest_backoff; give at most 10"),
            ("interval", 0.01, "shortest_pause is above interval; give at most 0.01"),
        ],
    )
    def test_of_a_run(self, field: str, value: object, advice: str) -> None:
        with pytest.raises(InvalidSettings, match=advice):
            RunSettings(**{field: value})  # type: ignore[arg-type] # it is what is tested

    @pytest.mark.parametrize(
        ("field", "value", "advice"),
        [
            ("fold_every", 0.0, "Sweeps.fold_every is 0.0, it must be seconds above 0"),
            ("trim_every", True, "Sweeps.trim_every"),
            ("recovery", "REQUEUED", "Sweeps.recovery"),
            ("longest_silence", 14.0, "below 3 times lost_agents_every; give at least 15"),
        ],
    )
    def test_of_sweeps(self, field: str, value: object, advice: str) -> None:
        with pytest.raises(InvalidSettings, match=advice):
            Sweeps(**{field: value})  # type: ignore[arg-type] # it is what is tested


class TestSchedule:
    @given(
        every=st.dictionaries(st.sampled_from(Sweep), st.none() | seconds),
        steps=st.lists(seconds, max_size=50),
        longest=seconds,
    )
    def test_each_is_made_once_in_its_interval(
        self, every: dict[Sweep, Optional[float]], steps: list[float], longest: float
    ) -> None:
        now = 0.0
        schedule = Schedule(every, now)
        made: dict[Sweep, float] = {}
        for step in steps:
            due = schedule.take_due(now)
            # Whoever waits as long as it says misses none.
            for sweep, interval in every.items():
                if interval is None:
                    assert sweep not in due
                elif sweep not in made and sweep not in (Sweep.AUDIT, Sweep.COMPARE):
                    assert sweep in due
                elif sweep in made:
                    assert (sweep in due) == (now >= made[sweep] + interval)
            made.update(dict.fromkeys(due, now))
            wait = schedule.next_due(now, longest)
            assert 0 < wait <= longest
            assert all(wait <= (every[sweep] or 0) for sweep in due)
            now += step

    def test_what_left_something_is_made_again_soon(self) -> None:
        schedule = Schedule({Sweep.TRIM: 60.0}, 0.0)
        assert schedule.take_due(0.0) == [Sweep.TRIM]
        schedule.repeat_soon(Sweep.TRIM, 0.0)
        assert schedule.take_due(0.9) == []
        assert schedule.take_due(1.0) == [Sweep.TRIM]
        assert schedule.take_due(60.9) == []

    def test_audits_and_comparisons_do_not_hold_up_a_start(self) -> None:
        assert Schedule({Sweep.AUDIT: 60.0, Sweep.COMPARE: 60.0}, 0.0).take_due(59.0) == []


class TestReach:
    @given(looks=st.lists(st.tuples(seconds, st.booleans()), max_size=50), silence=seconds)
    def test_lasts_only_without_failures_and_gaps(
        self, looks: list[tuple[float, bool]], silence: float
    ) -> None:
        """By the definition: all looks of that time found it, and none was late."""
        gap = silence / 2
        reach = Reach(gap)
        now = 0.0
        noted: list[tuple[float, bool]] = []
        for step, is_reached in looks:
            now += step
            reach.note(is_reached=is_reached, now=now)
            noted.append((now, is_reached))
            began = now
            for at, found in reversed(noted):
                if not found or began - at > gap:
                    break
                began = at
            has_lasted = is_reached and now - began >= silence
            assert reach.has_lasted(silence, now) == has_lasted
            assert not reach.has_lasted(silence, now + 2 * gap)


def undispatched(*numbers: int) -> list[UndispatchedSession]:
    return [UndispatchedSession(session_id(number), 0, ()) for number in numbers]


class TestTellings:
    @given(poison=st.sets(st.integers(0, 249), max_size=5), seed=st.integers(0, 100))
    def test_a_session_that_cannot_be_told_of_holds_up_no_other_for_long(
        self, poison: set[int], seed: int
    ) -> None:
        tellings = Tellings(Backoff(1.0, 4.0))
        left = undispatched(*range(250))
        bad = {session_id(number) for number in poison}
        now, calls = 0.0, 0
        # Seven halvings lead to a session alone.
        for _ in range(9):
            for batch in tellings.choose(left, now):
                assert 0 < len(batch) <= LARGEST_BATCH
                calls += 1
                if bad.isdisjoint(each.session_id for each in batch):
                    tellings.note_told(batch)
                    told = set(batch)
                    left = [each for each in left if each not in told]
                else:
                    tellings.note_failed(batch, now)
            # Nothing is told of again before its time.
            failing = [each for batch in tellings.choose(left, now) for each in batch]
            assert failing == []
            now += 4.0
        assert {each.session_id for each in left} == bad
        assert tellings.is_failing == bool(bad)
        assert calls <= 3 + 9 * len(bad) * 8
        assert tellings.next_due(now, 30.0) == (0.0 if bad else 30.0)

    def test_what_is_gone_is_forgotten(self) -> None:
        tellings = Tellings(Backoff(1.0, 4.0))
        (batch,) = tellings.choose(undispatched(1, 2), 0.0)
        tellings.note_failed(batch, 0.0)
        assert tellings.choose(undispatched(3), 0.0) == [undispatched(3)]
        assert not tellings.is_failing

    def test_a_later_attempt_is_another(self) -> None:
        tellings = Tellings(Backoff(1.0, 4.0))
        (batch,) = tellings.choose(undispatched(1), 0.0)
        tellings.note_failed(batch, 0.0)
        again = [UndispatchedSession(session_id(1), 1, ())]
        assert tellings.choose(again, 0.0) == [again]


class TestStopping:
    async def test_a_pause_ends_with_the_stop(self) -> None:
        stop = asyncio.Event()
        pause = asyncio.create_task(Stopping(stop).pause(PATIENCE))
        await asyncio.sleep(0)
        stop.set()
        await pause

    async def test_work_is_finished_given_up_or_cancelled(self) -> None:
        stop = asyncio.Event()
        stopping = Stopping(stop)
        may_end = asyncio.Event()
        cancelled: list[str] = []

        async def work(name: str) -> str:
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                cancelled.append(name)
                raise
            return name

        calls = [
            asyncio.create_task(call)
            for call in (
                stopping.finish(work("finished"), PATIENCE),
                stopping.finish(work("too long"), 0.001),
                stopping.give_up(work("given up")),
                stopping.give_up(work("too late"), 0.001),
                stopping.finish(work("cancelled"), PATIENCE),
            )
        ]
        await asyncio.wait([calls[3]])
        assert cancelled == ["too late"]
        calls[4].cancel()
        await asyncio.wait([calls[4]])
        stop.set()
        await asyncio.wait(calls[1:3])
        may_end.set()
        assert await asyncio.gather(*calls[:4]) == ["finished", None, None, None]
        assert calls[4].cancelled()
        assert sorted(cancelled) == ["cancelled", "given up", "too late", "too long"]

    async def test_what_work_raises_is_raised(self) -> None:
        async def fail() -> None:
            raise LookupError("no")

        with pytest.raises(LookupError, match="no"):
            await Stopping(asyncio.Event()).finish(fail(), PATIENCE)
