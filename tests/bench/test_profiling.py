"""``python -m bench profile``: what a run keeps, what it refuses, and what a user's own database keeps."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from bench.data.cluster import GROUP, Shape
from bench.data.load import ClusterLoader
from bench.data.place import Place
from bench.data.servers import BenchServer, place_on
from bench.data.sizes import SIZES, SizeName
from bench.profiling import passes
from bench.profiling.kept import CaseProfile, Graphs, read_profile
from bench.profiling.own_database import open_own_database
from bench.profiling.passes import profile_case
from bench.profiling.sampling import EVENT_LOOP, PLANNER
from bench.profiling.servers import TracedServer
from bench.profiling.trace import Trace, TracedPlanner
from bench.sides import writers
from bench.suites.registry import SUITES
from bench.suites.suite import Bench, Suite
from scheduler_repo.errors import DatabaseReadOnly
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.settings import DatabaseSettings
from tests.support.chromium import Chromium
from tests.support.command import Command, CommandHere
from tests.support.databases import ADMIN, READER, Database
from tests.support.observation import PROJECT_ROOT
from tests.support.shared_folder import shared_folder

Found = dict[str, tuple[CaseProfile, Graphs]]
TINY = ("--size", "XS", "--turns", "1")
PROFILED = [suite for suite in SUITES.values() if suite.not_profiled is None]
# Its calls reach no database.
WITHOUT_STATEMENTS = {"overhead"}


_TABLES = """
SELECT quote_ident(relname) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1
"""
_DIGEST = "SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {} AS t"
_WRITTEN = """
SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables ORDER BY 1
"""


@asynccontextmanager
async def _unseen(what: str, total: int) -> AsyncIterator[Callable[[int], None]]:
    yield lambda done: None


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample one turn only, and write one session where one at a time is written."""
    monkeypatch.setattr(passes, "_SAMPLED_SECONDS", 0.0)
    monkeypatch.setattr(writers, "SINGLES", 1)


class TestRefusals:
    URL = "postgresql://me@127.0.0.1:1/db"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["raed", "--output", "x"], "There is no suite 'raed' to profile; there are read, write, cache"),
            (["--output", "x"], "Missing argument 'SUITE'"),
            (["stall", "--output", "x"], "Suite stall is not profiled: it keeps the event loop busy"),
            (["throughput", "--output", "x"], "Suite throughput is not profiled: its loops run in processes"),
            (["read"], "Missing option '--output'"),
            (["read", "--size", "XXL", "--output", "x"], "'XXL' is not one of"),
            (["read", "--case", "no", "--output", "x"], "has no case 'no'; it has 'full read'"),
            (["read", "--group", "g", "--output", "x"], "give --database-url too"),
            (
                ["growth", "--trace-nodes", "n", "--trace-pods", "p", "--output", "x"],
                "makes clusters of its own",
            ),
            (["write", "--database-url", URL, "--output", "x"], "Suite write writes"),
            (["read", "--database-url", URL, "--size", "M", "--output", "x"], "yours is read as it is"),
            (["read", "--database-url", URL, "--output", "x"], "Connection refused"),
            (["read", "--compare", "a", "b"], "--compare takes two folders and nothing else"),
            (["--compare", "a", "b"], "a is no profile"),
            (["--compare", "a"], "requires 2 arguments"),
        ],
    )
    def test_bad_input_is_one_line_and_makes_no_folder(
        self,
        arguments: list[str],
        said: str,
        command_here: CommandHere,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        ended = command_here.run("profile", *arguments)
        assert ended.code in (1, 2)
        assert said in ended.error_line
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_with_other_files_is_refused_before_anything_is_measured(
        self, command_here: CommandHere, tmp_path: Path
    ) -> None:
        (tmp_path / "mine.txt").write_text("mine")
        ended = command_here.run("profile", "read", "--size", "XS", "--output", str(tmp_path))
        assert ended.code == 1
        assert "holds other files, and a profile would replace them" in ended.error_line
        assert ended.output == ""

    @pytest.mark.parametrize("package", ["pyinstrument", "memray"])
    def test_a_missing_extra(
        self, package: str, command_here: CommandHere, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        ended = command_here.run("profile", "read", "--output", "x")
        assert ended.code == 1
        assert ended.error_line == f"error: {package} is not installed; pip install 'scheduler-repo[profile]'"


async def profile_suite(suite: Suite, server: BenchServer) -> Found:
    """Profile the cases of a suite at the smallest size, one turn each."""
    trace = Trace()
    planner = TracedPlanner(BestFitPlanner(), trace)
    bench = Bench(
        server=TracedServer(server, trace),
        size_name=SizeName.XS,
        on_loading=_unseen,
        planner=planner,
        on_redis=trace.watch_redis,
    )
    return {
        case.name: await profile_case(case, trace, planner, 1, lambda name, done, total: None)
        async for case in suite.cases(bench)
    }


def check_read(found: Found) -> None:
    """A read says what came of each statement, and how it was sent."""
    profile, _ = found["full read"]
    phases = {phase.label: phase for phase in profile.phases}
    assert {"read: checkout", "read: begin", "read: commit", "read: transform"} <= phases.keys()
    pending = phases["read: pending_sessions"]
    assert (pending.calls, pending.rows) == (1, 70)
    assert pending.received is not None
    assert pending.received > 70 * 100
    (plan,) = [plan for plan in profile.plans if plan.name == "pending_sessions"]
    assert plan.parameters == (GROUP, "NULL")


def check_tick(found: Found) -> None:
    """A tick has its plan, and writes that were explained just before they were done."""
    profile, graphs = found["first tick"]
    labels = [phase.label for phase in profile.phases]
    order = ["read: pending_sessions", "read: transform", "plan", "write: schedule_kernels", "write: commit"]
    assert [label for label in labels if label in order] == order
    assert PLANNER in graphs.time
    (update,) = [plan for plan in profile.plans if plan.name == "schedule_kernels"]
    assert update.plan.startswith("Update on kernels")


# The time, the header of an entry, its first piece and its length.
LOOK_UP = "redis TIME GETRANGE GETRANGE STRLEN"


def check_cache(found: Found) -> None:
    """A hit asks Redis, and no database."""
    profile, _ = found["a tick's state, hit"]
    assert [phase.label for phase in profile.phases if not phase.is_python] == [LOOK_UP]


# A refresh plans its statements once, and reuses the plans.
REFRESHING = {path.stem for path in (PROJECT_ROOT / "sql" / "queries" / "delta").glob("*.sql")}
CHECKS = {"read": check_read, "tick": check_tick, "cache": check_cache}


@pytest.mark.slow
@pytest.mark.usefixtures("brief")
class TestSuites:
    @pytest.mark.parametrize("suite", PROFILED, ids=[suite.name for suite in PROFILED])
    async def test_each_case_is_seen_by_every_instrument(self, suite: Suite, server: BenchServer) -> None:
        # when
        found = await profile_suite(suite, server)
        # then
        assert list(found) == list(suite.case_names(SizeName.XS))
        for profile, graphs in found.values():
            assert 0 < profile.min_ms <= profile.total_ms <= profile.max_ms
            # What happens in the background, such as storing an answer, is no part of the call.
            assert sum(phase.wall_ms for phase in profile.phases) >= profile.total_ms * 0.99 - 0.001
            assert profile.peak_bytes > 0
            assert graphs.time.keys() <= {EVENT_LOOP, PLANNER}
            for phase in profile.phases:
                assert phase.server_ms is None or 0 <= phase.server_ms <= phase.wall_ms + 0.01
            for plan in profile.plans:
                assert "actual" in plan.plan
                is_custom = "plan_cache_mode = 'force_custom_plan'" in plan.plan
                assert is_custom != (plan.name in REFRESHING)
                assert plan.work_ms > 0
        statements = [plan.name for profile, _ in found.values() for plan in profile.plans]
        assert (statements == []) == (suite.name in WITHOUT_STATEMENTS)
        if suite.name in CHECKS:
            CHECKS[suite.name](found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile that the real command has made."""
    folder = tmp_path_factory.mktemp("profiles") / "tick"
    with shared_folder("bench-") as servers:
        ended = Command(servers, "bench").run(
            "profile", "tick", *TINY, "--case", "first tick", "--output", str(folder)
        )
    assert ended.code == 0, ended.errors
    lines = ended.output.splitlines()
    assert lines[-1] == f"open {folder / 'index.html'}"
    assert lines[-11:-1] == (folder / "summary.txt").read_text().splitlines()
    return folder


@pytest.mark.slow
class TestPages:
    def test_need_no_network(self, folder: Path) -> None:
        pages = sorted(folder.glob("*.html"))
        cases = len(read_profile(folder).cases)
        assert len(pages) == 1 + 3 * cases
        for page in pages:
            text = page.read_text("utf-8")
            assert "http:" not in text
            assert "https:" not in text
            # What it links to lies beside it.
            links = set(re.findall(r"""(?:href|src)=["']([^"']*)""", text)) - {"data:,"}
            assert links <= {path.name for path in pages}
            assert not re.search(r"url\(|@import|import\(|fetch\(|XMLHttpRequest", text)

    def test_are_whole_in_a_browser(self, folder: Path, chromium: Chromium) -> None:
        for path in sorted(folder.glob("*.html")):
            page = chromium.open(path)
            assert page.complaints == []
            assert [url for url in page.requests if not url.startswith("data:")] == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            if page.evaluate("document.querySelector('.graph') !== null"):
                assert page.evaluate("document.querySelectorAll('.graph .frame').length > 3")
            page.close()

    def test_a_graph_can_be_enlarged_and_made_small_again(self, folder: Path, chromium: Chromium) -> None:
        page = chromium.open(folder / "case-1-time.html")
        count = "document.querySelector('.graph').querySelectorAll('.frame').length"
        # given
        before = page.evaluate(count)
        narrow = "[...document.querySelector('.graph').querySelectorAll('.frame')].at(-1)"
        # when
        page.evaluate(f"{narrow}.click()")
        # then
        assert page.evaluate(f"{narrow}.offsetWidth") == page.evaluate(
            "document.querySelector('.graph').clientWidth"
        )
        page.evaluate("document.querySelector('.graph .frame').click()")
        assert page.evaluate(count) == before
        page.close()


@pytest.mark.slow
class TestOwnDatabase:
    @pytest.fixture
    async def place(self, server: BenchServer) -> AsyncIterator[Place]:
        async with place_on(server) as place:
            await ClusterLoader(place, Shape(SIZES[SizeName.XS])).load()
            yield place

    def look(self, place: Place) -> list[object]:
        """Look at all that a write would change: the rows, and the counters of the server."""

        async def fetch() -> list[object]:
            async with place.administering() as driver:
                tables = [row[0] for row in await driver.fetch(_TABLES)]
                await driver.execute("SELECT pg_stat_force_next_flush()")
                written = await driver.fetch(_WRITTEN)
                rows = [await driver.fetchval(_DIGEST.format(table)) for table in tables]
                return [tables, rows, [tuple(row) for row in written]]

        return asyncio.run(fetch())

    @pytest.mark.parametrize("suite", ["read", "tick"])
    @pytest.mark.usefixtures("brief")
    def test_is_only_read(self, suite: str, place: Place, command_here: CommandHere, tmp_path: Path) -> None:
        # given
        before = self.look(place)
        # when a role that might write has it profiled
        arguments = (
            "--turns",
            "1",
            "--output",
            str(tmp_path / "profile"),
            "--database-url",
            place.admin_url.reveal(),
        )
        ended = command_here.run("profile", suite, *arguments, "--json")
        # then
        assert ended.code == 0, ended.errors
        assert f"group: {GROUP}" in ended.errors.splitlines()
        assert ended.output == (tmp_path / "profile" / "profile.json").read_text()
        assert self.look(place) == before
        kept = read_profile(tmp_path / "profile")
        assert (kept.size, kept.server_clock) == ("your database", "explain")
        phases = {phase.label: phase for phase in kept.cases[0].phases}
        assert phases["read: pending_sessions"].server_ms is not None
        assert phases["read: commit"].server_ms is None
        assert not [label for label in phases if label.startswith("write")]

    async def test_the_server_itself_refuses_a_write(self, place: Place) -> None:
        settings = DatabaseSettings(url=place.admin_url)
        async with open_own_database(settings, GROUP, Trace()) as own:
            with pytest.raises(DatabaseReadOnly):
                async with own.engine.begin_session() as db_sess:
                    await db_sess.execute(sa.text("DELETE FROM sessions"))

    def test_without_the_schema_is_refused(
        self, command_here: CommandHere, empty_database: Database, tmp_path: Path
    ) -> None:
        url = empty_database.url_as(ADMIN)
        ended = command_here.run("profile", "read", "--output", str(tmp_path / "p"), "--database-url", url)
        assert ended.code == 1
        assert "has no schema of this package" in ended.error_line
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_group_is_named(
        self, command_here: CommandHere, migrated_database: Database, tmp_path: Path
    ) -> None:
        url = migrated_database.url_as(READER)
        arguments = ("--output", str(tmp_path / "p"), "--database-url", url, "--group", "none")
        ended = command_here.run("profile", "read", *arguments)
        assert ended.code == 1
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
class TestInterruption:
    def test_leaves_a_profile_as_it_was(self, command: Command, tmp_path: Path) -> None:
        # given
        folder = tmp_path / "profile"
        folder.mkdir()
        (folder / "profile.json").write_text(json.dumps({"kind": "scheduler-repo profile"}))
        # when
        arguments = ("profile", "read", "--size", "XS", "--turns", "10000", "--output", str(folder))
        ended = command.run_until("full read:", signal.SIGINT, *arguments)
        # then
        assert ended.code == 130
        assert ended.error_line == (
            f"error: stopped by Ctrl-C; the embedded server was removed; {folder} is as it was"
        )
        assert [path.name for path in tmp_path.rglob("*")] == ["profile", "profile.json"]
        assert command.left_behind() == []
