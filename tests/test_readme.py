"""The READMEs are true: their examples run, their commands, links and folders exist."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import msgspec
import pytest

from scheduler_repo import (
    LeaseHolder,
    Repositories,
    ScalingGroupName,
    SessionCreationSpec,
    SessionId,
    SessionStatus,
    UndispatchedSession,
    open_repositories,
)
from scheduler_repo.workload.synthetic import synthetic_queue
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
READMES = (README, ROOT / "bench" / "README.md", *sorted((ROOT / "scheduler_repo").rglob("README.md")))
GROUP = ScalingGroupName("batch")
EXAMPLE = re.compile(r"<!-- example: ([\w -]+) -->\n```python\n(.+?)```", re.DOTALL)
EXAMPLES = {name: code for readme in READMES for name, code in EXAMPLE.findall(readme.read_text("utf-8"))}


def _module(name: str) -> ModuleType:
    module = ModuleType("readme_example")
    exec(compile(EXAMPLES[name], f"example {name}", "exec"), module.__dict__)  # noqa: S102 - our own READMEs
    return module


FILL = _module("fill")


@pytest.fixture
async def url(migrated_database: Database) -> str:
    """A database with the cluster of the entities' README, as a scheduler sees it."""
    url = migrated_database.url_as(SCHEDULER)
    await FILL.fill(url)
    return url


class TestExamples:
    async def test_run(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        example = _module("run")
        stop = asyncio.Event()
        told: list[SessionId] = []

        class Dispatcher:
            async def dispatch(self, sessions: Sequence[UndispatchedSession]) -> Sequence[SessionId]:
                told.extend(await example.Printer().dispatch(sessions))
                stop.set()
                return told

        try:
            async with asyncio.timeout(PATIENCE):
                await example.run(url, GROUP, LeaseHolder("ada"), Dispatcher(), stop)
        finally:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        async with open_repositories(url) as repos:
            assert await repos.lifecycle.list_undispatched_sessions(GROUP) == ()
        assert len(told) == 1
        assert ": start " in capsys.readouterr().out

    async def test_the_first_example_schedules(self, url: str, redis_url: str) -> None:
        schedule = _module("scheduler").schedule
        # With a cache and without one; the second time nothing is left to place.
        assert [await schedule(url, redis, GROUP) for redis in (redis_url, None)] == [1, 0]

    async def test_a_planner_of_ones_own_places_sessions(self, migrated_database: Database) -> None:
        # Given a queue of ten sessions, of which some have several kernels, and agents with room for all
        url = migrated_database.url_as(SCHEDULER)
        queue = synthetic_queue(agents=3, sessions=10, kernels=13, scaling_group=GROUP)
        async with open_repositories(url) as repos:
            await repos.cluster.load_cluster(queue)
        single = sum(len(session.kernels) == 1 for session in queue.sessions)
        # When
        placed = await _module("own scheduler").schedule(url, GROUP)
        # Then it has placed those that it knows how to place
        assert placed == single
        async with migrated_database.driver_as(ADMIN) as driver:
            assert await driver.fetchval("SELECT count(*) FROM sessions WHERE status = 'SCHEDULED'") == single

    async def test_changes_are_followed(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        await _module("tracker").follow(url, GROUP)
        first, second = capsys.readouterr().out.splitlines()
        assert first == "1 wait; read anew: first"
        assert second.startswith("0 sessions differ from ")

    async def test_what_is_held_is_compared(self, url: str) -> None:
        former = signal.getsignal(signal.SIGUSR2)
        await _module("comparisons").schedule_and_compare(url, GROUP)
        assert signal.getsignal(signal.SIGUSR2) is former
        async with open_repositories(url) as repos:
            assert not (await repos.scheduler.get_scheduling_data(GROUP)).pending_sessions

    async def test_the_hand_off_takes_sessions_to_their_end(self, url: str) -> None:
        # Given a session that is placed
        await _module("own scheduler").schedule(url, GROUP)
        told: list[UndispatchedSession] = []

        async def tell(session: UndispatchedSession) -> None:
            told.append(session)

        # When it is handed to its agent, twice
        ended = [await _module("hand-off").hand_off(url, GROUP, tell) for _ in range(2)]
        # Then its agent was told once, and it has ended
        assert ended == [1, 0]
        assert [kernel.agent_address for session in told for kernel in session.kernels] == ["10.0.0.1:6001"]

    async def test_the_cache_answers(self, url: str, redis_url: str) -> None:
        count = _module("cache").count_pending
        first = await count(url, redis_url, GROUP)
        assert first[0] == 1
        # A busy machine may take longer than the example waits for Redis.
        async with asyncio.timeout(PATIENCE):
            while (second := await count(url, redis_url, GROUP)) != first:
                first = second

    async def test_what_a_tick_has_written_is_seen(self, url: str, redis_url: str) -> None:
        # All that waits there is placed.
        assert await _module("after a tick").tick_and_count(url, redis_url, GROUP) == 0

    async def test_the_service_creates_and_finds(self, url: str, redis_url: str) -> None:
        another = FILL.spec("another")
        # When
        mine = await _module("service").serve(url, redis_url, another)
        # Then it finds both sessions, the newest first, and its own as it made it
        assert mine[0].session_id == another.session_id
        assert [each.status for each in mine] == [SessionStatus.CANCELLED, SessionStatus.PENDING]

    async def test_many_sessions_are_submitted(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        # Given two sessions, of which one names a group that does not exist
        good: SessionCreationSpec = FILL.spec("another")
        bad = msgspec.structs.replace(good, session_id=uuid4(), scaling_group=ScalingGroupName("nope"))
        example = _module("pool")
        # When
        await example.submit(url, [bad, good])
        totals = await example.open_to(url, GROUP, good.access_key)
        # Then the good one is there, the other is rejected
        refused, created = capsys.readouterr().out.splitlines()
        assert refused.startswith(f"{bad.session_id} SCALING_GROUP_UNKNOWN")
        assert created == "another 1 0"
        assert totals.agent_count == 1

    async def test_repositories_are_put_together_by_hand(self, url: str) -> None:
        another = FILL.spec("another")
        async with open_repositories(url) as repos:
            await repos.sessions.create_session(another)
        assert sorted(await _module("by hand").names(url, another.session_id)) == ["another", "train"]

    async def test_a_deadline_bounds_a_call(self, url: str) -> None:
        assert await _module("deadline").find_soon(url, SessionId(uuid4())) is None

    async def test_a_policy_knows_what_it_surrounds(self, capsys: pytest.CaptureFixture[str]) -> None:
        answer = await _module("policy").ask_agent("10.0.0.1")
        assert answer == "10.0.0.1 is well"
        assert capsys.readouterr().out == "asking the agent: ask_agent\n"

    async def test_an_operation_is_done_once(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        another = FILL.spec("another")
        await _module("operation").enqueue_surely(url, another)
        async with open_repositories(url) as repos:
            assert (await repos.sessions.get_session_by_id(another.session_id)).name == "another"
        assert capsys.readouterr().out == ""

    async def test_a_leader_schedules(self, url: str) -> None:
        assert await _module("lease").lead(url, GROUP, LeaseHolder("me")) == 2

    async def test_an_idle_loop_places_what_comes(self, url: str) -> None:
        # Given a loop that has placed the one session there was, and waits
        loop = asyncio.create_task(_module("idle loop").schedule_forever(url, GROUP))
        async with open_repositories(url) as repos:
            assert await repos.scheduler.wait_for_changes(GROUP, PATIENCE)
            another = FILL.spec("another")
            await repos.sessions.create_session(another)
            # Then another is placed, which is no change to wait for
            async with asyncio.timeout(PATIENCE):
                while await self.status(repos, another.session_id) != "SCHEDULED":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        loop.cancel()
        await asyncio.wait([loop])

    async def status(self, repos: Repositories, session_id: SessionId) -> SessionStatus:
        return (await repos.sessions.get_session_state(session_id)).status

    async def test_metrics_are_served_meanwhile(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        await _module("metrics").schedule_and_serve(url, GROUP, 0)
        assert re.fullmatch(r"metrics: http://127.0.0.1:\d+/metrics\n", capsys.readouterr().out)

    async def test_a_test_of_ones_own_passes(self, migrated_database: Database) -> None:
        async with open_repositories(migrated_database.url_as(SCHEDULER)) as repos:
            await _module("own test").test_a_new_group_has_no_sessions(repos)

    def test_every_example_is_run_by_a_test_above(self) -> None:
        source = Path(__file__).read_text("utf-8")
        run = set(re.findall(r'_module\("([\w -]+)"\)', source))
        assert run == set(EXAMPLES)

    def test_all_python_is_an_example(self) -> None:
        for readme in READMES:
            text = readme.read_text("utf-8")
            assert text.count("```python") == len(EXAMPLE.findall(text)), readme


class TestCommands:
    @pytest.mark.parametrize(
        ("name", "part"),
        [
            ("demo", "scheduler-repo demo"),
            ("tests", "python -m pytest -q"),
            ("trace", "demo --trace-nodes nodes.csv --trace-pods pods.csv"),
            ("bench", "python -m bench read --size M"),
            ("bench as tests", "python -m pytest bench"),
            ("profile", "python -m bench profile read --size M"),
        ],
    )
    def test_it_can_be_extracted(self, name: str, part: str) -> None:
        script = ROOT / ".ci" / "readme_command.py"
        command = subprocess.check_output([sys.executable, script, name], text=True)
        assert part in command


class TestText:
    def test_the_first_readme_is_short(self) -> None:
        assert len(README.read_text("utf-8").splitlines()) <= 200

    def test_every_folder_of_the_map_exists(self) -> None:
        (folders,) = re.findall(r"<!-- map -->\n```text\n(.+?)```", README.read_text("utf-8"), re.DOTALL)
        paths = [line.split()[0] for line in folders.splitlines()]
        assert len(paths) > 10
        for path in paths:
            assert (ROOT / path).exists(), f"the map names {path}, which is not there"

    def test_every_folder_of_the_package_is_on_the_map(self) -> None:
        text = README.read_text("utf-8")
        for package in (ROOT / "scheduler_repo").glob("*/__init__.py"):
            assert f"\nscheduler_repo/{package.parent.name}/ " in text

    @pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
    def test_every_link_leads_somewhere(self, readme: Path) -> None:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", readme.read_text("utf-8")):
            path = (readme.parent / target) if target else readme
            assert path.exists(), f"{readme} links to {target}"
            if anchor:
                assert anchor[1:] in _anchors(path), f"{readme} links to {target}{anchor}"


def _anchors(readme: Path) -> Sequence[str]:
    headings = re.findall(r"^#+ (.+)$", readme.read_text("utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
