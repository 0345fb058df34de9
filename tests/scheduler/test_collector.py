"""The host's collector is left as it was found, however readers overlap and end."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_repo.database.collector import collector_relaxed
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.types import ScalingGroupName
from tests.support.databases import DriverConnection

HOSTS = (700, 10, 10)


@contextmanager
def threshold_of_host(*threshold: int) -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*threshold)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class TestInterleavings:
    @given(turns=st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=30))
    def test_any_order_of_entering_and_leaving(self, turns: list[tuple[bool, int]]) -> None:
        # given
        inside: list[AbstractContextManager[None]] = []
        with threshold_of_host(*HOSTS):
            for enters, place in turns:
                # when
                if enters:
                    inside.append(collector_relaxed())
                    inside[-1].__enter__()
                elif inside:
                    inside.pop(place % len(inside)).__exit__(None, None, None)
                # then
                first, *others = gc.get_threshold()
                assert (first > HOSTS[0]) == bool(inside)
                assert others == list(HOSTS[1:])
            while inside:
                inside.pop(0).__exit__(None, None, None)
            assert gc.get_threshold() == HOSTS

    @pytest.mark.parametrize("turns", [0, 1])
    def test_in_a_loop_the_reader_goes_on_before_the_collector_does(self, turns: int) -> None:
        # given
        async def read() -> tuple[int, int]:
            with collector_relaxed():
                pass
            at_once = gc.get_threshold()[0]
            for _ in range(turns):
                await asyncio.sleep(0)
            return at_once, gc.get_threshold()[0]

        with threshold_of_host(*HOSTS):
            # when
            at_once, later = asyncio.run(read())
            # then: after the loop too, even if it ends with the reader
            assert at_once > HOSTS[0]
            assert (later == HOSTS[0]) == bool(turns)
            assert gc.get_threshold() == HOSTS

    async def test_tasks_that_overlap_fail_or_are_cancelled(self) -> None:
        # given
        ready, release = asyncio.Event(), asyncio.Event()

        async def read(outcome: str) -> None:
            with collector_relaxed():
                if outcome == "waits":
                    ready.set()
                await release.wait()
                if outcome == "fails":
                    raise LookupError

        with threshold_of_host(*HOSTS):
            tasks = [asyncio.create_task(read(outcome)) for outcome in ("fails", "cancelled", "ends", "waits")]
            await ready.wait()
            assert gc.get_threshold() != HOSTS
            # when
            tasks[1].cancel()
            release.set()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            # then
            assert [type(result) for result in results] == [
                LookupError,
                asyncio.CancelledError,
                type(None),
                type(None),
            ]
            assert gc.get_threshold() == HOSTS


class TestHosts:
    def test_opting_out_leaves_it_alone(self) -> None:
        with threshold_of_host(*HOSTS), collector_relaxed(enabled=False):
            # when / then
            assert gc.get_threshold() == HOSTS

    def test_opting_out_beside_a_reader_that_did_not(self) -> None:
        with threshold_of_host(*HOSTS):
            # given
            with collector_relaxed():
                # when
                with collector_relaxed(enabled=False):
                    pass
                # then
                assert gc.get_threshold() != HOSTS
            assert gc.get_threshold() == HOSTS

    @pytest.mark.parametrize("first", [0, 2_000_000])
    def test_threshold_of_none_and_a_higher_one_are_kept(self, first: int) -> None:
        with threshold_of_host(first, 7, 8):
            # when
            with collector_relaxed():
                # then
                assert gc.get_threshold() == (first, 7, 8)
            assert gc.get_threshold() == (first, 7, 8)

    def test_collector_that_is_disabled_stays_so(self) -> None:
        # given
        gc.disable()
        try:
            # when
            with collector_relaxed():
                # then
                assert not gc.isenabled()
            assert not gc.isenabled()
        finally:
            gc.enable()


class TestReads:
    GROUP = ScalingGroupName("gpu")

    @pytest.fixture
    async def group(self, owner_connection: DriverConnection) -> None:
        await owner_connection.execute("INSERT INTO scaling_groups (name) VALUES ('gpu')")

    async def thresholds_within(self, source: SchedulerDBSource, read: ScalingGroupName) -> set[int]:
        """The first thresholds that another task sees during one read, after which all is as before."""
        seen = set()
        task = asyncio.create_task(source.get_scheduling_data(read))
        while not task.done():
            await asyncio.sleep(0)
            seen.add(gc.get_threshold()[0])
        await asyncio.wait([task])
        assert gc.get_threshold() == HOSTS
        task.exception()
        return seen

    async def test_relaxed_during_a_read(self, group: None, db_source: SchedulerDBSource) -> None:
        with threshold_of_host(*HOSTS):
            # when / then
            assert max(await self.thresholds_within(db_source, self.GROUP)) > HOSTS[0]

    async def test_restored_when_the_read_fails(self, db_source: SchedulerDBSource) -> None:
        with threshold_of_host(*HOSTS):
            # when / then
            assert max(await self.thresholds_within(db_source, ScalingGroupName("none"))) > HOSTS[0]

    async def test_host_that_opts_out(self, group: None, db_source: SchedulerDBSource) -> None:
        # given
        source = SchedulerDBSource(db_source.engine, relax_collector=False)
        with threshold_of_host(*HOSTS):
            # when / then
            assert await self.thresholds_within(source, self.GROUP) == {HOSTS[0]}
