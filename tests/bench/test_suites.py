"""Every suite runs at a tiny size, and yields what it promises."""

import asyncio
import json
import time

import asyncpg
import msgspec
import pytest

from bench.data.place import driver_dsn
from bench.data.servers import BenchServer, place_on
from bench.data.sizes import SizeName
from bench.measure.results import ENGINE, CaseResult, SuiteResult
from bench.measure.stall import LEAST_SECONDS, watched_loop
from bench.measure.turns import Times
from bench.measure.wire import counted_wire
from bench.sides import tickers, writers
from bench.sides.readers import open_readers
from bench.suites.reach import SuiteWalk
from bench.suites.registry import SUITES
from bench.suites.runner import run_suite
from bench.suites.suite import Bench
from bench.suites.tick import PLAN
from bench.thresholds import find_missed, load_thresholds

FIGURES = {
    "name",
    "median_ms",
    "min_ms",
    "max_ms",
    "n",
    "floor_ms",
    "ratio_to_floor",
    "plain_ms",
    "speedup_over_plain",
    "statements",
    "round_trips",
}
ON_A_DATABASE = {"floor_ms", "ratio_to_floor", "statements", "round_trips"}
OVER_PLAIN = {"plain_ms", "speedup_over_plain"}


@pytest.mark.slow
class TestSuites:
    @pytest.fixture(autouse=True)
    def _short_turns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (writers, tickers):
            monkeypatch.setattr(module, "_PLAIN_BATCH", 2)
        monkeypatch.setattr(writers, "SINGLES", 2)

    @pytest.mark.parametrize("name", SUITES)
    async def test_each_yields_the_cases_that_it_names(self, name: str, bench: Bench) -> None:
        # when
        result = await run_suite(SUITES[name], bench, turns=1)
        # then
        shown = json.loads(result.to_json())
        assert set(shown) == {"suite", "size", "machine", "cases"}
        assert (shown["suite"], shown["size"]) == (name, "XS")
        assert [case["name"] for case in shown["cases"]] == list(SUITES[name].case_names(SizeName.XS))
        for number, case in enumerate(shown["cases"]):
            promised = FIGURES
            if case["name"] == PLAN:
                # A plan asks no database: it has no floor and sends nothing.
                promised = FIGURES - ON_A_DATABASE
            elif name == "delta" and number > 0:
                # The plain way reads everything whatever has changed: one case measures it.
                promised = FIGURES - OVER_PLAIN | {"full_ms", "speedup_over_full"}
            assert case.keys() >= promised
            assert 0 < case["min_ms"] <= case["median_ms"] <= case["max_ms"]
        # Every threshold of the suite is on a figure that there is.
        for threshold in load_thresholds():
            if threshold.suite == name:
                case = next((case for case in shown["cases"] if case["name"] == threshold.case), None)
                if case is not None:
                    assert threshold.figure in case, threshold
                else:
                    sizes = [size for size in SizeName if threshold.case in SUITES[name].case_names(size)]
                    assert set(threshold.sizes) <= set(sizes), threshold


@pytest.mark.slow
class TestSides:
    async def test_all_of_them_read_the_same(self, bench: Bench) -> None:
        async with bench.cluster() as loaded, open_readers(loaded.place) as readers:
            data = await readers.read()
            rows = await readers.floor.fetch()
            plain = await readers.read_plainly()
            kernels = sum(len(session.kernels) for session in data.pending_sessions)
            assert len(data.pending_sessions) == len(plain.pending) == 70
            assert kernels == sum(len(each.kernels) for each in plain.pending) == 112
            assert {70, 112, 14} <= {len(fetched) for fetched in rows}
            assert len(data.agents) == len(plain.agents) == 14
            assert await readers.floor.copy_away() > 0

    async def test_what_they_send_is_counted_on_the_wire(self, server: BenchServer) -> None:
        async with (
            place_on(server) as place,
            counted_wire(place.url) as wire,
            place.by_way_of(wire).driver() as driver,
        ):
            await driver.fetchval("SELECT 1")
            before = wire.counts
            await driver.execute("BEGIN")
            await driver.fetchval("SELECT 1")
            await driver.execute("COMMIT")
            counts = wire.counts.since(before)
        assert (counts.statements, counts.round_trips) == (3, 3)
        assert counts.bytes_received > 0

    async def test_a_connection_that_is_left_open_ends_with_the_wire(
        self, server: BenchServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with place_on(server) as place:
            async with counted_wire(place.url) as wire:
                driver = await asyncpg.connect(driver_dsn(wire.url_for(place.url)))
                assert len(wire.links) == 1
            await asyncio.sleep(0)
            assert wire.links == set()
            with pytest.raises(asyncpg.PostgresConnectionError):
                await driver.fetchval("SELECT 1")
        assert caplog.messages == []


@pytest.mark.slow
class TestStalls:
    async def test_what_follows_the_end_is_not_counted(self) -> None:
        # given
        with watched_loop() as watch:
            time.sleep(2 * LEAST_SECONDS)  # noqa: ASYNC251 - what is to be seen
            await asyncio.sleep(0)
        seen = list(watch.blocks)
        # when: the answer is freed, say
        time.sleep(2 * LEAST_SECONDS)  # noqa: ASYNC251 - what is not to be seen
        for _ in range(3):
            await asyncio.sleep(0)
        # then
        assert len(seen) >= 1
        assert watch.blocks == seen


class TestReaching:
    async def test_a_case_that_lies_behind_is_reached_again(self, bench: Bench) -> None:
        walk = SuiteWalk(bench)
        for name in ("two layers", "no policy"):
            case = await walk.reach("overhead", name)
            assert case.name == name
            assert ENGINE in case.sides
        with pytest.raises(LookupError, match="no case 'none'"):
            await walk.reach("overhead", "none")
        await walk.close()


class TestThresholds:
    def test_each_says_why_and_bounds_something(self) -> None:
        for each in load_thresholds():
            assert each.reason
            assert (each.at_most is None) != (each.at_least is None)
            assert each.suite in SUITES
            assert any(each.case in SUITES[each.suite].case_names(size) for size in each.sizes), each
            assert not each.figure.endswith("_ms"), "absolute times are not bounded"

    def test_a_missed_one_is_named_with_its_reason(self) -> None:
        # given
        (threshold,) = [each for each in load_thresholds() if each.suite == "overhead"]
        times = {ENGINE: Times(1.0, 1.0, 1.0, 1)}
        case = CaseResult(threshold.case, times, {}, {threshold.figure: 0.02})
        result = SuiteResult("overhead", "S", {}, (case,))
        # when
        strict = msgspec.structs.replace(threshold, reason="it is small", at_most=0)
        # then
        (missed,) = find_missed([strict], result)
        assert missed.endswith("to be at most 0: it is small")
        assert find_missed([threshold], result) == []
        assert find_missed([strict], SuiteResult("read", "S", {}, result.cases)) == []
