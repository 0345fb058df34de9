"""The law of refreshes: what was read, and what changed since, are what a full read gives, always."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator
from random import Random
from typing import Final, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from scheduler_repo.database.engine import create_engine
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import ScalingGroupName
from tests.deltas.held_answers import HeldAnswers, Question
from tests.deltas.writes import RARE_WRITES, SETUP, WRITES, Write, create, move
from tests.support.databases import OWNER, SCHEDULER, Database, DriverConnection
from tests.support.own_server import own_database

T = TypeVar("T")
QUESTIONS: Final[tuple[Question, ...]] = tuple(
    (ScalingGroupName(group), limit)
    for group, limit in (("gpu", None), ("gpu", 7), ("gpu", 2), ("other", None), ("other", 3))
)
_EMPTY: Final = """
DELETE FROM session_dependencies; DELETE FROM reservations; DELETE FROM sessions; DELETE FROM agents;
DELETE FROM quotas; DELETE FROM resource_policies; DELETE FROM slot_types; DELETE FROM scaling_groups;
DELETE FROM keypairs; DELETE FROM users; DELETE FROM projects; DELETE FROM domains;
"""


class World:
    """A database, a connection for each of some open transactions, and one for what is committed at once."""

    def __init__(self, runner: asyncio.Runner, database: Database, *, has_two_phases: bool) -> None:
        self._runner = runner
        self._database = database
        self.has_two_phases = has_two_phases
        self.outcomes: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.writers: list[DriverConnection] = []

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self._runner.run(wait())

    async def open(self) -> None:
        url = SecretUrl(self._database.url_as(SCHEDULER))
        self.engine = create_engine(DatabaseSettings(url=url, pool_size=1))
        self.writers = [await self._database.open_driver_as(OWNER) for _ in range(3)]
        for writer in self.writers:
            await writer.execute("SET lock_timeout = '20ms'")

    async def begin_again(self) -> None:
        """End all transactions and fill the database anew."""
        for number, writer in enumerate(self.writers):
            if writer.is_in_transaction():
                await writer.execute("ROLLBACK")
            await self.end_prepared(number, "ROLLBACK")
        await self.writers[0].execute(_EMPTY + SETUP)
        for seed in range(30):
            await self.write(0, create, seed)
            await self.write(0, move, seed)
        self.answers = HeldAnswers(self.engine, QUESTIONS)
        self.answers.outcomes = self.outcomes

    async def close(self) -> None:
        await self.engine.dispose()
        for writer in self.writers:
            await writer.close()

    async def write(self, number: int, write: Write, seed: int, *, is_kept: bool = True) -> None:
        """Write in a writer's transaction, or in one of its own; in a savepoint, which may be rolled back."""
        writer = self.writers[number]
        begin, keep, undo = (
            ("SAVEPOINT one", "RELEASE one", "ROLLBACK TO one")
            if writer.is_in_transaction()
            else ("BEGIN", "COMMIT", "ROLLBACK")
        )
        await writer.execute(begin)
        try:
            await write(writer, Random(seed))  # noqa: S311 - a workload, not a secret
        except asyncpg.PostgresError as error:
            # Refused by a constraint, or by a lock that an open transaction has.
            self.refused[f"{write.__name__}: {type(error).__name__}"] += 1
            is_kept = False
        await writer.execute(keep if is_kept else undo)

    async def begin(self, number: int) -> None:
        writer = self.writers[number]
        if not writer.is_in_transaction():
            await writer.execute("BEGIN")

    async def end(self, number: int, how: str) -> None:
        writer = self.writers[number]
        if not writer.is_in_transaction():
            return
        if how == "PREPARE" and self.has_two_phases and not await self.has_prepared(number):
            how = f"PREPARE TRANSACTION 'writer-{number}'"
        await writer.execute("COMMIT" if how == "PREPARE" else how)

    async def end_prepared(self, number: int, how: str) -> None:
        """End what a writer has prepared, unless it is in another transaction."""
        writer = self.writers[number]
        if not writer.is_in_transaction() and await self.has_prepared(number):
            await writer.execute(f"{how} PREPARED 'writer-{number}'")

    async def has_prepared(self, number: int) -> bool:
        ask = "SELECT EXISTS (SELECT FROM pg_prepared_xacts WHERE gid = $1)"
        return self.has_two_phases and bool(await self.writers[number].fetchval(ask, f"writer-{number}"))


class History(RuleBasedStateMachine):
    """Any writes, by writers some of whom commit late or never; refreshes whenever."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.world.run(self.world.begin_again())

    # One rule that draws by itself: of several, hypothesis leaves some out of each history, and it likes what
    # it had before, which here changes nothing.
    @rule(seed=st.integers(0, 2**64))
    def step(self, seed: int) -> None:
        self.steps += 1
        rng = Random(f"{self.steps} {seed}")  # noqa: S311 - a workload, not a secret
        self.world.run(self.step_in_loop(rng))

    async def step_in_loop(self, rng: Random) -> None:
        """Write as somebody, end a transaction or leave it open, and bring answers up to date or not yet."""
        world = self.world
        number = rng.choice([0, 0, 1, 2])
        if number != 0:
            await world.begin(number)
        for _ in range(rng.randrange(1, 5)):
            write = rng.choice(RARE_WRITES if number == 0 and rng.random() < 0.05 else WRITES)
            is_kept = number == 0 or rng.random() < 0.7
            await world.write(number, write, rng.randrange(2**62), is_kept=is_kept)
        if rng.random() < 0.6:
            await world.end(rng.choice([1, 2]), rng.choice(["COMMIT", "COMMIT", "ROLLBACK", "PREPARE"]))
        if rng.random() < 0.3:
            await world.end_prepared(rng.choice([1, 2]), rng.choice(["COMMIT", "ROLLBACK"]))
        if rng.random() < 0.7:
            await world.answers.check()

    def teardown(self) -> None:
        self.world.run(self.world.answers.check())


def run_histories(world: World, examples: int, steps: int) -> None:
    class HistoryOfWorld(History):
        pass

    HistoryOfWorld.world = world
    run_state_machine_as_test(
        HistoryOfWorld,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            # On a database shrinking takes minutes; a history is short enough to be read as it is.
            phases=[Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


class TestLaw:
    def test_short(self, runner: asyncio.Runner, fresh_database: Database) -> None:
        world = World(runner, fresh_database, has_two_phases=False)
        world.run(world.open())
        try:
            run_histories(world, examples=3, steps=12)
        finally:
            world.run(world.close())
        # Some 30 by chance; with hardly any it would show nothing.
        assert world.outcomes["changes"] > 5

    @pytest.mark.slow
    @pytest.mark.timeout(1_800)
    def test_long(self, runner: asyncio.Runner) -> None:
        servers = own_database({"max_prepared_transactions": "10"})
        _, database = runner.run(servers.__aenter__())
        world = World(runner, database, has_two_phases=True)
        world.run(world.open())
        try:
            run_histories(world, examples=60, steps=50)
        finally:
            world.run(world.close())
            runner.run(servers.__aexit__(None, None, None))
        assert world.outcomes["changes"] > 3_000
        assert {"everything", "triggers_changed", "preemption_changed"} <= set(world.outcomes)
