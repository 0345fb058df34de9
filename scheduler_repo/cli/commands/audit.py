"""``scheduler-repo audit``: whether a database says the same of itself everywhere."""

from collections.abc import Iterator
from typing import Final, Optional

import click
import msgspec

from scheduler_repo.cli.options import database_url_option, debug_option, given_database
from scheduler_repo.cli.output.amounts import count_text
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.entities.audit import (
    COUNTER_CHECKS,
    AuditFinding,
    AuditReport,
    RepairedCounter,
    RepairObstacle,
    RepairReport,
    UnrepairableCounter,
)
from scheduler_repo.types import SlotName

_NOTHING: Final = "nothing"
_OBSTACLES: Final = {
    RepairObstacle.ABOVE_CAPACITY: "its kernels hold more than its capacity",
    RepairObstacle.ABOVE_MAX_CONTAINERS: "its kernels are more than its max_containers",
    RepairObstacle.SLOT_NOT_ON_AGENT: "agent_slots has no row for it",
    RepairObstacle.SLOT_TYPE_UNKNOWN: "no slot type has this index",
    RepairObstacle.AGENT_UNKNOWN: "there is no such agent",
}


@click.command(short_help="Check counters, statuses and histories against each other.")
@click.option("--repair", is_flag=True, help="First set the agents' counters to what their kernels hold.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object: what differs, and what was mended."
)
@database_url_option
@debug_option
@click.pass_obj
def audit(invocation: Invocation, repair: bool, as_json: bool, database_url: Optional[str]) -> int:
    """Check a whole database: agents' counters, owners' sessions, statuses, reservations, histories.

    All checks read one instant, and lock nothing. Prints each difference and the check that found it, a
    statement in sql/audit; the exit code is 1 if there is any. With --repair the counters are mended first,
    while schedulers go on; then what is left is printed.
    """
    settings = given_database(database_url)

    async def work() -> tuple[Optional[RepairReport], AuditReport]:
        from scheduler_repo.cli.process.servers import open_engine, require_usable_database
        from scheduler_repo.repositories.audit.db_source import AuditDBSource
        from scheduler_repo.repositories.audit.repository import AuditRepository

        async with open_engine(settings) as engine:
            await require_usable_database(engine, settings, to_write=repair)
            repository = AuditRepository(AuditDBSource(engine))
            mended = None
            if repair:
                invocation.aftermath = "the counters are as they were, or all are mended"
                mended = await repository.repair_counters()
            return mended, await repository.audit()

    mended, report = invocation.run(work)
    if as_json:
        _say_as_json(mended, report)
    else:
        _say_as_text(mended, report)
    if not report.findings:
        return 0
    click.echo(f"error: {count_text(len(report.findings), 'finding')}; {_advice(mended, report)}", err=True)
    return 1


def _say_as_json(mended: Optional[RepairReport], report: AuditReport) -> None:
    from scheduler_repo.cli.output.streams import say_json

    fields = {name: getattr(report, name) for name in report.__struct_fields__}
    say_json(msgspec.json.encode({**fields, "repair": mended}))


def _say_as_text(mended: Optional[RepairReport], report: AuditReport) -> None:
    if mended is not None:
        for repaired in mended.repaired:
            _say(_repaired(repaired))
        for unrepairable in mended.unrepairable:
            _say(_unrepairable(unrepairable))
        click.echo(f"mended {count_text(len(mended.repaired), 'counter')}")
    for finding in report.findings:
        _say(_finding(finding))
    if not report.findings:
        at = report.observed_at.isoformat(sep=" ", timespec="milliseconds")
        click.echo(f"audited {count_text(report.checks_run, 'check')} at {at}: nothing differs")


def _say(lines: Iterator[str]) -> None:
    # An id may hold anything; what could be taken for another line, or moves a cursor, is shown escaped.
    printable = ("".join(char if char.isprintable() else repr(char)[1:-1] for char in line) for line in lines)
    click.echo("\n".join(printable))


def _finding(finding: AuditFinding) -> Iterator[str]:
    yield f"{finding.entity} {finding.entity_id}: {finding.what}"
    yield f"  expected: {finding.expected}"
    yield f"  found:    {finding.found}"
    yield f"  check:    {finding.check}"


def _repaired(repaired: RepairedCounter) -> Iterator[str]:
    yield f"agent {repaired.agent_id}: {_counter_name(repaired.slot_name)} mended"
    yield f"  before:   {repaired.before}"
    yield f"  after:    {repaired.after}"


def _unrepairable(unrepairable: UnrepairableCounter) -> Iterator[str]:
    counter = unrepairable.counter
    unnamed = None if counter.slot_index is None else f"slot index {counter.slot_index}"
    yield f"agent {counter.agent_id}: {_counter_name(counter.slot_name, unnamed)} not mended"
    yield f"  because:  {_OBSTACLES[unrepairable.obstacle]}"
    yield f"  counter:  {_amount(counter.recorded)}"
    yield f"  kernels:  {counter.held}"
    yield f"  limit:    {_amount(counter.limit)}"


def _counter_name(slot_name: Optional[SlotName], unnamed: Optional[str] = None) -> str:
    slot = slot_name or unnamed
    return "container_count" if slot is None else f"occupied {slot}"


def _amount(amount: Optional[int]) -> str:
    return _NOTHING if amount is None else str(amount)


def _advice(mended: Optional[RepairReport], report: AuditReport) -> str:
    if mended is None and any(finding.check in COUNTER_CHECKS for finding in report.findings):
        return "mend the agents' counters with --repair, the rest by hand"
    return "mend them by hand; sql/audit has each check's statement, and says what it means"
