"""``scheduler-repo audit``: whether the counters, statuses and histories of a database agree."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, Optional

import click
import msgspec

from scheduler_repo.cli.options import database_url_option, read_database
from scheduler_repo.cli.output.amounts import format_count
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.terminal import say, say_error, say_json
from scheduler_repo.entities.audit import (
    COUNTER_CHECKS,
    USAGE_CHECKS,
    AuditReport,
    RepairObstacle,
    RepairReport,
    UnrepairableCounter,
)

# What --repair mends, with the checks that find it.
_MENDABLE: Final = {"the agents' counters": COUNTER_CHECKS, "the owners' usage": USAGE_CHECKS}
_OBSTACLES: Final = {
    RepairObstacle.ABOVE_CAPACITY: "its kernels hold more than its capacity",
    RepairObstacle.ABOVE_MAX_CONTAINERS: "its kernels are more than its max_containers",
    RepairObstacle.SLOT_NOT_ON_AGENT: "agent_slots has no row for it",
    RepairObstacle.SLOT_TYPE_UNKNOWN: "no slot type has this index",
    RepairObstacle.AGENT_UNKNOWN: "there is no such agent",
    RepairObstacle.ROW_LOCKED: "a row of it is locked",
}


@click.command(short_help="Check counters, statuses and histories against each other.")
@click.option(
    "--repair", is_flag=True, help="First set agents' counters and owners' usage to what kernels hold."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: findings and repairs.")
@database_url_option
@click.pass_obj
def audit(invocation: Invocation, repair: bool, as_json: bool, database_url: Optional[str]) -> int:
    """Check a whole database: agents' counters, owners' sessions, statuses, reservations, histories.

    All checks read one instant, and lock nothing. Prints each difference and the check that found it, a
    statement in sql/audit; the exit code is 1 if there is any. Then says how long the logs of changes are,
    and when they were last kept short. With --repair the counters are mended first, while schedulers go on;
    then what is left is printed.
    """
    database = read_database(database_url)

    async def work() -> tuple[Optional[RepairReport], AuditReport]:
        from scheduler_repo.database.connecting import open_database
        from scheduler_repo.repositories.audit.db_source import AuditDBSource
        from scheduler_repo.repositories.audit.repository import AuditRepository

        async with open_database(database, to_write=repair) as engine:
            repository = AuditRepository(AuditDBSource(engine))
            mended = None
            if repair:
                invocation.aftermath = "either no counter was changed, or all are mended"
                mended = await repository.repair_counters()
            report = await repository.audit()
            if repair and any(finding.check in USAGE_CHECKS for finding in report.findings):
                await repository.rebuild_usage()
                report = await repository.audit()
            return mended, report

    mended, report = invocation.run(work)
    if as_json:
        say_json(msgspec.json.encode({**msgspec.structs.asdict(report), "repair": mended}))
    else:
        say(*_lines(mended, report))
    if not report.findings:
        return 0
    found = {finding.check for finding in report.findings}
    mendable = [name for name, checks in _MENDABLE.items() if found.intersection(checks)]
    advice = "mend them by hand; sql/audit has each check's statement and says what it means"
    if mended is None and mendable:
        advice = f"mend {' and '.join(mendable)} with --repair, the rest by hand"
    say_error(f"{format_count(len(report.findings), 'finding')}; {advice}")
    return 1


def _lines(mended: Optional[RepairReport], report: AuditReport) -> Iterator[str]:
    if mended is not None:
        for repaired in mended.repaired:
            yield f"agent {repaired.agent_id}: {_counter_name(repaired.slot_name)} mended"
            yield f"  before:   {repaired.before}"
            yield f"  after:    {repaired.after}"
        for unrepairable in mended.unrepairable:
            counter = unrepairable.counter
            unnamed = None if counter.slot_index is None else f"slot index {counter.slot_index}"
            yield f"agent {counter.agent_id}: {_counter_name(counter.slot_name or unnamed)} not mended"
            yield f"  because:  {_obstacle(unrepairable)}"
            yield f"  counter:  {_amount(counter.recorded)}"
            yield f"  kernels:  {counter.held}"
            yield f"  limit:    {_amount(counter.limit)}"
        yield f"mended {format_count(len(mended.repaired), 'counter')}"
    for finding in report.findings:
        yield f"{finding.entity} {finding.entity_id}: {finding.what}"
        yield f"  expected: {finding.expected}"
        yield f"  found:    {finding.found}"
        yield f"  check:    {finding.check}"
    if not report.findings:
        at = report.observed_at.isoformat(sep=" ", timespec="milliseconds")
        yield f"audited {format_count(report.checks_run, 'check')} at {at}: nothing differs"
    logs, now = report.logs, report.observed_at
    unfolded = f"{format_count(logs.usage_rows, 'row')}, {logs.unfolded_rows:,} not folded"
    yield f"usage_log: {unfolded}, the last fold {_ago(logs.folded_at, now)}"
    yield f"change_log: {format_count(logs.change_rows, 'row')}, the last trim {_ago(logs.trimmed_at, now)}"


def _ago(then: datetime, now: datetime) -> str:
    """How long ago that was, in whole seconds."""
    if then > now:
        return f"at {then.isoformat(sep=' ', timespec='seconds')}"
    return f"{timedelta(seconds=(now - then) // timedelta(seconds=1))} ago"


def _obstacle(unrepairable: UnrepairableCounter) -> str:
    if unrepairable.locked is None:
        return _OBSTACLES[unrepairable.obstacle]
    return f"{unrepairable.locked.describe()}; repair again when that transaction has ended"


def _counter_name(slot: Optional[str]) -> str:
    return "container_count" if slot is None else f"occupied {slot}"


def _amount(amount: Optional[int]) -> str:
    return "nothing" if amount is None else str(amount)
