"""What the README says is run: its commands exist, its code schedules."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.demo.workload.synthetic import synthetic_queue
from scheduler_repo.entities.kernel import KernelSpec
from scheduler_repo.entities.lifecycle import UndispatchedSession
from scheduler_repo.entities.session import SessionCreationSpec, SessionFilter
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import ScalingGroupName, SessionStatus, SlotName
from tests.support.databases import ADMIN, SCHEDULER, Database

ROOT = Path(__file__).parent.parent
GROUP = ScalingGroupName("readme")


def _example(name: str) -> str:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(rf"<!-- example: {name} -->\n```python\n(.+?)```", readme, re.DOTALL)
    assert isinstance(code, str)
    return code


def _as_module(code: str) -> ModuleType:
    module = ModuleType("readme_example")
    exec(compile(code, "README.md", "exec"), module.__dict__)  # noqa: S102 - our own README
    return module


async def _like_the_one_that_waits(engine: ExtendedAsyncSAEngine) -> SessionCreationSpec:
    """Another session of the owner of the one that is in the queue."""
    sessions = SessionRepository(SessionDBSource(engine))
    (waiting,) = (await sessions.search_sessions(SessionFilter())).items
    like = await sessions.get_session_by_id(waiting.session_id)
    return SessionCreationSpec(
        name="another",
        scaling_group=like.scaling_group,
        access_key=like.access_key,
        user_id=like.user_id,
        project_id=like.project_id,
        domain_name=like.domain_name,
        kernels=(KernelSpec(requested_slots={SlotName("cpu"): 1_000}),),
    )


class TestReadme:
    async def test_the_scheduler_of_ones_own_places_sessions(self, migrated_database: Database) -> None:
        # Given a queue of ten sessions, of which some have several kernels, and agents with room for all
        url = migrated_database.url_as(SCHEDULER)
        engine = create_engine(DatabaseSettings(url=SecretUrl(url)))
        queue = synthetic_queue(agents=3, sessions=10, kernels=13, scaling_group=GROUP)
        await ClusterRepository(ClusterDBSource(engine)).load_cluster(queue)
        await engine.dispose()
        single = sum(len(session.kernels) == 1 for session in queue.sessions)
        # When the README's scheduler runs
        placed = await _as_module(_example("own scheduler")).schedule(url, GROUP)
        # Then it has placed those that it knows how to place
        assert placed == single
        async with migrated_database.driver_as(ADMIN) as driver:
            assert await driver.fetchval("SELECT count(*) FROM sessions WHERE status = 'SCHEDULED'") == single

    async def test_the_cluster_of_the_readme_is_filled(self, migrated_database: Database) -> None:
        # Given the README's cluster of one node
        url = migrated_database.url_as(SCHEDULER)
        engine = create_engine(DatabaseSettings(url=SecretUrl(url)))
        await _as_module(_example("fill")).fill(engine)
        await engine.dispose()
        # When the README's scheduler runs on it
        placed = await _as_module(_example("own scheduler")).schedule(url, "batch")
        # Then its one session is placed
        assert placed == 1

    async def test_the_hand_off_of_the_readme_takes_sessions_to_their_end(
        self, migrated_database: Database
    ) -> None:
        # Given the README's cluster, its session placed
        url = migrated_database.url_as(SCHEDULER)
        engine = create_engine(DatabaseSettings(url=SecretUrl(url)))
        await _as_module(_example("fill")).fill(engine)
        await _as_module(_example("own scheduler")).schedule(url, "batch")
        told: list[UndispatchedSession] = []

        async def tell(session: UndispatchedSession) -> None:
            told.append(session)

        # When it is handed to its agent
        hand_off = _as_module(_example("hand-off")).hand_off
        ended = [await hand_off(engine, "batch", tell) for _ in range(2)]
        await engine.dispose()
        # Then its agent was told once, and it has ended
        assert ended == [1, 0]
        assert [kernel.agent_address for session in told for kernel in session.kernels] == ["10.0.0.1:6001"]

    async def test_the_cache_of_the_readme_answers(self, migrated_database: Database, redis_url: str) -> None:
        engine = create_engine(DatabaseSettings(url=SecretUrl(migrated_database.url_as(SCHEDULER))))
        await _as_module(_example("fill")).fill(engine)
        look = _as_module(_example("cache")).look
        first, second = await look(engine, redis_url, "batch"), await look(engine, redis_url, "batch")
        await engine.dispose()
        # The second reader is given the first one's answer, of the same instant.
        assert len(second.pending_sessions) == 1
        assert second == first

    @pytest.mark.parametrize(
        ("name", "part"),
        [
            ("demo", "scheduler-repo demo"),
            ("tests", "python -m pytest -q"),
            ("trace", "demo --trace-nodes nodes.csv --trace-pods pods.csv"),
            ("bench", "python -m pytest bench"),
        ],
    )
    def test_the_commands_can_be_extracted(self, name: str, part: str) -> None:
        command = subprocess.run(
            [sys.executable, ROOT / ".ci" / "readme_command.py", name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert part in command

    async def test_the_service_of_the_readme_answers(self, migrated_database: Database, redis_url: str) -> None:
        # Given the README's cluster, and a session like the one in it
        engine = create_engine(DatabaseSettings(url=SecretUrl(migrated_database.url_as(SCHEDULER))))
        await _as_module(_example("fill")).fill(engine)
        spec = await _like_the_one_that_waits(engine)
        # When the README's service creates it
        mine = await _as_module(_example("service")).serve(engine, redis_url, spec)
        await engine.dispose()
        # Then it finds both, the newest first, and its own as it made it
        assert mine[0].session_id == spec.session_id
        assert [each.status for each in mine] == [SessionStatus.CANCELLED, SessionStatus.PENDING]

    async def test_the_pool_of_the_readme_is_filled_and_opened(
        self, migrated_database: Database, redis_url: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        # Given the README's cluster, and two sessions like the one in it, of which one names another group
        engine = create_engine(DatabaseSettings(url=SecretUrl(migrated_database.url_as(SCHEDULER))))
        await _as_module(_example("fill")).fill(engine)
        good = await _like_the_one_that_waits(engine)
        bad = msgspec.structs.replace(good, session_id=uuid4(), scaling_group=ScalingGroupName("nope"))
        example = _as_module(_example("pool"))
        # When
        await example.submit(engine, [bad, good])
        totals = await example.open_to(engine, redis_url, good.scaling_group, good.access_key)
        await engine.dispose()
        # Then the good one is there, the other is said to be wrong
        refused, created = capsys.readouterr().out.splitlines()
        assert refused.startswith(f"{bad.session_id} SCALING_GROUP_UNKNOWN")
        assert created == "another 1 0"
        assert totals.agent_count == 1

    async def test_the_policy_of_the_readme_knows_what_it_surrounds(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        # When
        answer = await _as_module(_example("policy")).ask_agent("10.0.0.1")
        # Then
        assert answer == "10.0.0.1 is well"
        assert capsys.readouterr().out == "asking the agent: ask_agent\n"

    def test_every_folder_of_the_map_exists(self) -> None:
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        (folders,) = re.findall(r"<!-- map -->\n```text\n(.+?)```", readme, re.DOTALL)
        paths = [line.split()[0] for line in folders.splitlines() if line and not line.startswith(" ")]
        assert len(paths) > 10
        for path in paths:
            assert (ROOT / path).exists(), f"the README's map names {path}, which is not there"
