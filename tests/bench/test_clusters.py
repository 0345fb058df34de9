"""The clusters that are measured: as large as they say, sound, and the same for the same seed."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.data import load
from bench.data.cluster import GROUP, Shape, make_surroundings
from bench.data.load import ClusterLoader
from bench.data.place import Place
from bench.data.rows import SessionChunk, SessionRows
from bench.data.servers import BenchServer, place_on
from bench.data.sizes import SIZES, ClusterSize, SizeName
from bench.data.trace import TraceFiles, load_trace
from bench.suites.suite import Bench
from scheduler_repo.database.connecting import connect
from scheduler_repo.database.schema.upgrade import check_schema
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.settings import DatabaseSettings
from scheduler_repo.types import SessionStatus
from tests.support.trace_location import write_trace

SHAPE = Shape(SIZES[SizeName.XS])


async def count(place: Place, query: str) -> Counter[tuple[object, ...]]:
    """Count by the first columns of a query; the last is the number."""
    async with place.administering() as driver:
        return Counter({tuple(row)[:-1]: row[-1] for row in await driver.fetch(query)})


class TestSizes:
    def test_are_what_the_documents_say(self) -> None:
        assert {name: size for name, size in SIZES.items() if name != SizeName.XS} == {
            "S": ClusterSize(100, 500, 1_000, 10_000),
            "M": ClusterSize(1_000, 5_000, 10_000, 100_000),
            "L": ClusterSize(2_000, 20_000, 50_000, 500_000),
            "XL": ClusterSize(10_000, 100_000, 200_000, 2_000_000),
        }

    @pytest.mark.parametrize("size", SizeName)
    def test_three_other_groups_hold_a_tenth_each(self, size: SizeName) -> None:
        shape = Shape(SIZES[size])
        for total in (shape.size.agents, shape.size.running, shape.size.pending, shape.size.finished):
            first, *others = shape.split(total)
            assert others == [total // 10] * 3
            assert first + sum(others) == total


class TestRows:
    def make(self, seed: int) -> list[SessionChunk]:
        shape = Shape(SIZES[SizeName.XS], seed=seed)
        rows = SessionRows(shape, make_surroundings(shape))
        return [
            chunk
            for status in (SessionStatus.TERMINATED, SessionStatus.RUNNING, SessionStatus.PENDING)
            for chunk in rows.make(GROUP, status, 100)
        ]

    def test_the_same_seed_makes_the_same_rows(self) -> None:
        assert self.make(7) == self.make(7)
        assert self.make(7) != self.make(8)

    def test_what_does_not_fit_on_the_agents_is_refused(self) -> None:
        shape = Shape(ClusterSize(agents=1, running=1, pending=0, finished=0), shares=(100,))
        rows = SessionRows(shape, make_surroundings(shape))
        with pytest.raises(ValueError, match="no room for another running session"):
            list(rows.make(GROUP, SessionStatus.RUNNING, 1_000))


class TestLoading:
    @pytest.fixture
    async def place(self, server: BenchServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
        # As a large one is loaded: without indexes meanwhile.
        monkeypatch.setattr(load, "_MANY_SESSIONS", 0)
        async with place_on(server) as place:
            yield place

    async def test_all_that_the_size_says_is_there(self, place: Place) -> None:
        # when
        seen: list[int] = []
        await ClusterLoader(place, SHAPE).load(seen.append)
        # then
        assert seen == sorted(seen)
        assert seen[-1] == SHAPE.size.sessions
        assert await count(place, "SELECT status, count(*) FROM sessions GROUP BY 1") == {
            ("PENDING",): 100,
            ("RUNNING",): 40,
            ("TERMINATED",): 200,
        }
        of_groups = "SELECT scaling_group, count(*) FROM sessions WHERE status = 'PENDING' GROUP BY 1"
        assert await count(place, of_groups) == {
            (GROUP,): 70,
            ("bench-1",): 10,
            ("bench-2",): 10,
            ("bench-3",): 10,
        }
        of_kernels = """
            SELECT kernels, count(*) FROM (
                SELECT count(*) AS kernels FROM kernels WHERE status = 'PENDING' GROUP BY session_id) AS s
            GROUP BY 1"""
        assert await count(place, of_kernels) == {(4,): 20, (1,): 80}
        slots = "SELECT cardinality(requested_slots), count(*) FROM kernels GROUP BY 1"
        assert len(await count(place, slots)) == 1
        dependent = """
            SELECT s.has_dependencies, count(*) FROM sessions AS s
            WHERE status = 'PENDING' AND EXISTS (
                SELECT FROM session_dependencies AS d JOIN sessions AS o ON o.id = d.depends_on
                WHERE d.session_id = s.id) GROUP BY 1"""
        (found,) = (await count(place, dependent)).items()
        # In twentieths of each group, begun ones too.
        assert found[0] == (True,)
        assert 5 <= found[1] <= 7
        owners = "SELECT (SELECT count(*) FROM projects), (SELECT count(*) FROM domains), count(*) FROM users"
        assert await count(place, owners) == {(20, 2): 20}

    async def test_nothing_has_drifted_and_the_schema_is_whole(self, place: Place) -> None:
        # given
        loader = ClusterLoader(place, SHAPE)
        await loader.load()
        # when
        await loader.add(SessionStatus.RUNNING, 5)
        await loader.add(SessionStatus.PENDING, 10, GROUP)
        # then
        async with place.engine() as engine:
            report = await AuditRepository(AuditDBSource(engine)).audit()
        assert report.findings == ()
        async with connect(DatabaseSettings(url=place.admin_url)) as connection:
            assert await check_schema(connection) == ()

    async def test_a_trace_is_a_cluster_too(self, server: BenchServer, bench: Bench, tmp_path: Path) -> None:
        async with place_on(server) as place:
            await load_trace(place, TraceFiles(*write_trace(tmp_path, nodes=1, pods=30)), bench.on_loading)
            waiting = "SELECT scaling_group, count(*) FROM sessions WHERE status = 'PENDING' GROUP BY 1"
            assert await count(place, waiting) == {(GROUP,): 30}
