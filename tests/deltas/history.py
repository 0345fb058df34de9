"""Any history of writes, in steps, and readers who follow it: the machine behind the law.

In each step somebody writes, one thing more happens, which is the rule's name, and some answers are brought up
to date. A step that breaks the law says what was done so far, beside the rules that Hypothesis prints.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Final, Optional

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.deltas import engine_writes, odd_writes, writes
from tests.deltas.engine_writes import ENGINE_WRITES, EngineWrite
from tests.deltas.world import QUESTIONS, World
from tests.deltas.writes import WRITES, Write

# All is read anew after a rare thing, which hides what the changes after others lead to.
_STEPS_BETWEEN_RARE_THINGS: Final = 8
_LATE_WRITERS: Final = (1, 2)

# Hypothesis likes what it drew before; with the number of the step it is something else each time.
seeds = st.integers(0, 2**64)


class History(RuleBasedStateMachine):
    """Writers some of whom commit late or never, the engine's own repositories, and readers, at any time."""

    world: World
    runner: asyncio.Runner

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.rare_at = 0
        self.is_broken = False
        self.run(self.world.begin_again())

    @rule(seed=seeds)
    def writers_write(self, seed: int) -> None:
        self.step(seed, self.nothing_more)

    @rule(seed=seeds)
    def the_engine_writes(self, seed: int) -> None:
        async def happens(rng: Random) -> None:
            for _ in range(rng.randrange(1, 4)):
                await self.world.write_by_engine(rng.choice(ENGINE_WRITES), rng)

        self.step(seed, happens)

    @rule(seed=seeds)
    def a_transaction_commits_late(self, seed: int) -> None:
        self.step(seed, lambda rng: self.world.end(rng.choice(_LATE_WRITERS), "COMMIT"))

    @rule(seed=seeds)
    def a_transaction_is_rolled_back(self, seed: int) -> None:
        self.step(seed, lambda rng: self.world.end(rng.choice(_LATE_WRITERS), "ROLLBACK"))

    @rule(seed=seeds)
    def a_savepoint_is_rolled_back(self, seed: int) -> None:
        async def happens(rng: Random) -> None:
            number = rng.choice(_LATE_WRITERS)
            await self.world.begin(number)
            await self.world.write(number, rng.choice(WRITES), rng, is_kept=False)

        self.step(seed, happens)

    @rule(seed=seeds)
    def a_transaction_commits_in_two_phases(self, seed: int) -> None:
        async def happens(rng: Random) -> None:
            number = rng.choice(_LATE_WRITERS)
            await self.world.end_prepared(number, rng.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
            await self.world.prepare(number)

        self.step(seed, happens)

    @rule(seed=seeds)
    def sessions_move_to_another_group(self, seed: int) -> None:
        self.step(seed, lambda rng: self.world.write(0, writes.change_group, rng))

    @rule(seed=seeds)
    def sessions_are_deleted(self, seed: int) -> None:
        self.step(seed, lambda rng: self.world.write(0, writes.delete, rng))

    @rule(seed=seeds)
    def sessions_are_purged(self, seed: int) -> None:
        self.step(seed, lambda rng: self.world.write_by_engine(engine_writes.purge, rng))

    @rule(seed=seeds)
    def a_policy_is_changed(self, seed: int) -> None:
        self.step(seed, lambda rng: self.world.write(0, writes.change_policy, rng))

    @rule(seed=seeds)
    def usage_is_folded(self, seed: int) -> None:
        self.step(seed, lambda rng: self.world.write(0, writes.fold, rng))

    @rule(seed=seeds)
    def a_reader_crashes_between_reading_and_applying(self, seed: int) -> None:
        self.step(seed, lambda rng: self.world.answers.crash(rng.choice(QUESTIONS)))

    @rule(seed=seeds)
    def a_process_starts_from_what_another_stored(self, seed: int) -> None:
        self.step(seed, lambda rng: self.world.answers.start_from_stored(rng.choice(QUESTIONS)))

    @rule(seed=seeds)
    def a_process_starts_from_redis(self, seed: int) -> None:
        self.step(seed, lambda rng: self.world.start_from_redis(rng.choice(QUESTIONS)[0], rng))

    @rule(seed=seeds)
    def callers_share_a_tracker_while_others_write(self, seed: int) -> None:
        async def happens(rng: Random) -> None:
            questions = rng.choices(QUESTIONS, k=rng.randrange(2, 5))
            writing = self.world.write(0, rng.choice(WRITES), Random(rng.random()))  # noqa: S311 - a workload
            await self.world.ask_together(questions, writing, rng)

        self.step(seed, happens)

    @precondition(lambda self: self.may_be_rare())
    @rule(seed=seeds)
    def a_slot_type_is_added(self, seed: int) -> None:
        self.step_rarely(seed, odd_writes.add_slot_type, engine_writes.register_slot_type)

    @precondition(lambda self: self.may_be_rare())
    @rule(seed=seeds)
    def the_log_is_trimmed(self, seed: int) -> None:
        self.step_rarely(seed, odd_writes.trim, engine_writes.trim)

    @precondition(lambda self: self.may_be_rare())
    @rule(seed=seeds)
    def usage_is_counted_anew(self, seed: int) -> None:
        self.step_rarely(seed, odd_writes.rebuild, engine_writes.rebuild)

    @precondition(lambda self: self.may_be_rare())
    @rule(seed=seeds)
    def a_trigger_is_disabled_and_enabled(self, seed: int) -> None:
        self.step_rarely(seed, odd_writes.switch_off)

    @precondition(lambda self: self.may_be_rare())
    @rule(seed=seeds)
    def a_table_is_emptied(self, seed: int) -> None:
        self.step_rarely(seed, odd_writes.empty)

    @rule(seed=seeds)
    def a_key_is_changed(self, seed: int) -> None:
        self.step(seed, lambda rng: self.world.write(0, odd_writes.rename, rng))

    def teardown(self) -> None:
        if not self.is_broken:
            self.run(self.world.answers.check_all())
            self.run(self.world.check_usage())

    def run(self, work: Coroutine[None, None, None]) -> None:
        self.runner.run(work)

    def may_be_rare(self) -> bool:
        return self.steps - self.rare_at > _STEPS_BETWEEN_RARE_THINGS

    def step(self, seed: int, happens: Callable[[Random], Awaitable[object]]) -> None:
        self.steps += 1
        rng = Random(f"{self.steps} {seed}")  # noqa: S311 - a workload, not a secret
        try:
            self.run(self.step_in_loop(rng, happens))
        except Exception as error:
            self.is_broken = True
            error.add_note("\n".join(self.world.journal))
            raise

    async def step_in_loop(self, rng: Random, happens: Callable[[Random], Awaitable[object]]) -> None:
        number = rng.choice([0, 0, *_LATE_WRITERS])
        if number != 0:
            await self.world.begin(number)
        for _ in range(rng.randrange(1, 4)):
            await self.world.write(number, rng.choice(WRITES), rng)
        if rng.random() < 0.4:
            await self.world.write_by_engine(rng.choice(ENGINE_WRITES), rng)
        await happens(rng)
        if rng.random() < 0.3:
            await self.world.end(rng.choice(_LATE_WRITERS), rng.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
        # Mostly one answer, so that some are not asked for many steps.
        chance = rng.random()
        if chance < 0.1:
            await self.world.answers.check_all()
            await self.world.check_usage()
        elif chance < 0.9:
            await self.world.answers.check(rng.choice(QUESTIONS))

    def step_rarely(self, seed: int, by_sql: Write, *by_engine: EngineWrite) -> None:
        async def happens(rng: Random) -> None:
            self.rare_at = self.steps
            # It waits for the lock of a whole table.
            for number in _LATE_WRITERS:
                await self.world.end(number, "COMMIT")
            if by_engine and rng.random() < 0.5:
                await self.world.write_by_engine(by_engine[0], rng)
            else:
                await self.world.write(0, by_sql, rng)
            await self.world.answers.check_all()

        self.step(seed, happens)

    @staticmethod
    async def nothing_more(_rng: Random) -> None:
        """Writing is all that happens in a step."""


def run_histories(runner: asyncio.Runner, world: World, steps: int, steps_of_each: int) -> int:
    """Drive a world for so many steps, in histories of some length; returns how many there were."""
    driven = 0

    class HistoryOfWorld(History):
        def teardown(self) -> None:
            nonlocal driven
            driven += self.steps
            super().teardown()

    HistoryOfWorld.world, HistoryOfWorld.runner = world, runner
    run_state_machine_as_test(
        HistoryOfWorld,
        settings=settings(
            max_examples=max(steps // steps_of_each, 1),
            stateful_step_count=steps_of_each,
            deadline=None,
            # On a database shrinking takes minutes; a history is short enough to be read as it is.
            phases=[Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    return driven


def first_breach(
    runner: asyncio.Runner, world: World, most: int, steps_of_each: int
) -> tuple[int, Optional[Exception]]:
    """Drive a world until the law is broken, at most for so many steps; say after how many, and how.

    By the same rules and without Hypothesis, which would go through it once more.
    """
    rng = Random(most)  # noqa: S311 - a workload, not a secret

    class HistoryOfWorld(History):
        pass

    HistoryOfWorld.world, HistoryOfWorld.runner = world, runner
    steps = 0
    while steps < most:
        history = HistoryOfWorld()
        try:
            for _ in range(steps_of_each):
                possible = [each for each in history.rules if all(met(history) for met in each.preconditions)]
                steps += 1
                rng.choice(possible).function(history, seed=rng.randrange(2**64))
            history.teardown()
        except (AssertionError, LookupError, ValueError) as error:
            return steps, error
    return steps, None
