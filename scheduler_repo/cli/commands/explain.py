"""``scheduler-repo explain``: why one session waits, or what has become of it."""

import re
from typing import TYPE_CHECKING, Final, Literal, Optional
from uuid import UUID

import click

from scheduler_repo.cli.options import database_url_option, debug_option, given_database
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.types import SessionId, SessionStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from scheduler_repo.database.engine import ExtendedAsyncSAEngine
    from scheduler_repo.entities.scheduling_data import SchedulingData
    from scheduler_repo.entities.session import SessionState
    from scheduler_repo.scheduling.explain.session_text import Fact, TextTable


# Python's own UUID takes braces, underscores and hyphens anywhere.
_UUID: Final = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)
_SHOWN_CHARACTERS: Final = 60


def checked_session_id(context: click.Context, parameter: click.Parameter, text: str) -> SessionId:
    """Take the id of a session; a URL given in its place is not repeated, as it may hold a password."""
    if "://" in text:
        raise click.BadParameter("this is a URL; give the id of a session")
    if _UUID.fullmatch(text) is None:
        given = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
        raise click.BadParameter(
            f"{given!r} is no session id; give a UUID, such as "
            "6f1ed002-ab59-4c3c-8d2b-0a7c3b7a4a11 (those that wait: scheduler-repo snapshot GROUP --json)"
        )
    return SessionId(UUID(text))


@click.command(short_help="Show why one session waits.")
@click.argument("session_id", metavar="SESSION", callback=checked_session_id)
@database_url_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object: the session, and all of the explanation."
)
@debug_option
@click.pass_obj
def explain(invocation: Invocation, session_id: SessionId, database_url: Optional[str], as_json: bool) -> None:
    """Show why SESSION, given by its id, waits: what blocks it first, and every figure that has a say in it.

    How many agents fit it, slot by slot; the limits of its owners; what it depends on; its place in the queue.
    Of a session that does not wait: its status and its agents. Reads only. Amounts in JSON are whole numbers in
    each slot's smallest unit.
    """
    database = given_database(database_url)

    async def work() -> None:
        from scheduler_repo.cli.output.streams import CommandConsole, say_json
        from scheduler_repo.cli.process.servers import open_engine, require_usable_database

        async with open_engine(database) as engine:
            await require_usable_database(engine, database, to_write=False)
            found, data = await _look_up(engine, session_id)
        if as_json:
            say_json(_as_json(found, data))
        else:
            CommandConsole().show(_page(found, data))

    invocation.run(work)


async def _look_up(
    engine: "ExtendedAsyncSAEngine", session_id: SessionId
) -> "tuple[SessionState, Optional[SchedulingData]]":
    """Find the session and, if it waits, read its group; raises SessionNotFound.

    The two reads have two instants: a session that left the queue between them is looked up once more.
    """
    from scheduler_repo.errors import SessionNotFound
    from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
    from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
    from scheduler_repo.repositories.session.db_source import SessionDBSource
    from scheduler_repo.repositories.session.repository import SessionRepository

    sessions = SessionRepository(SessionDBSource(engine))
    try:
        found = await sessions.get_session_state(session_id)
        if found.status is not SessionStatus.PENDING:
            return found, None
        scheduler = SchedulerRepository(SchedulerDBSource(engine))
        data = await scheduler.get_scheduling_data(found.scaling_group)
        if any(session.session_id == session_id for session in data.pending_sessions):
            return found, data
        return await sessions.get_session_state(session_id), None
    except SessionNotFound as error:
        raise SessionNotFound(
            f"{error}, or see those that wait with: scheduler-repo snapshot GROUP --json"
        ) from None


def _status_text(found: "SessionState") -> str:
    from scheduler_repo.scheduling.explain.session_text import age_text, time_text

    result = "" if found.result is None else f" with {found.result.value}"
    age = age_text(found.observed_at - found.status_changed_at)
    return f"{found.status.value}{result} since {time_text(found.status_changed_at)}, {age}"


def _as_json(found: "SessionState", data: "Optional[SchedulingData]") -> bytes:
    """Encode all there is; ``explanation`` is null for a session that does not wait."""
    import msgspec

    from scheduler_repo.scheduling.explain.reasons_text import describe
    from scheduler_repo.scheduling.explain.session import explain_session

    if data is None:
        return msgspec.json.encode({"session": found, "text": _status_text(found), "explanation": None})
    explanation = explain_session(data, found.session_id)
    text = describe(explanation.waiting, data)
    return msgspec.json.encode({"session": found, "text": text, "explanation": explanation})


def _page(found: "SessionState", data: "Optional[SchedulingData]") -> "RenderableType":
    from scheduler_repo.cli.output.amounts import amount_text
    from scheduler_repo.scheduling.explain.session import explain_session
    from scheduler_repo.scheduling.explain.session_text import (
        Fact,
        explanation_tables,
        queue_facts,
        reason_facts,
        time_text,
    )

    observed_at = found.observed_at if data is None else data.observed_at
    facts = [
        Fact("session", str(found.session_id)),
        Fact("name", found.name),
        Fact("group", found.scaling_group),
        Fact("status", _status_text(found)),
        Fact("observed at", time_text(observed_at)),
    ]
    if data is not None:
        explanation = explain_session(data, found.session_id)
        tables = explanation_tables(explanation, amount_text)
        return _laid_out((*facts, *reason_facts(explanation, data)), tables, queue_facts(explanation, data))
    if found.status is SessionStatus.PENDING:
        facts.append(Fact("", "it left the queue and came back while it was looked at; ask again"))
    facts.extend(Fact("agent", agent_id) for agent_id in found.agent_ids)
    return _laid_out(facts)


def _laid_out(
    head: "Iterable[Fact]", tables: "Iterable[TextTable]" = (), tail: "Sequence[Fact]" = ()
) -> "RenderableType":
    """Lay out for a terminal of any width: what is too long is folded, nothing is cut."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def plain_table(*, show_header: bool) -> Table:
        return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=show_header)

    def list_of(facts: "Iterable[Fact]") -> Table:
        listed = plain_table(show_header=False)
        listed.add_column(no_wrap=True)
        listed.add_column(overflow="fold")
        for fact in facts:
            listed.add_row(*fact)
        return listed

    parts: list[RenderableType] = [list_of(head)]
    for table in tables:
        parts += ["", Text(table.title)]
        if not table.rows:
            continue
        body = plain_table(show_header=True)
        for position, name in enumerate(table.columns):
            justify: Literal["left", "right"] = "right" if position in table.numbers else "left"
            body.add_column(name if position else f"  {name}", justify=justify, overflow="fold")
        for first, *others in table.rows:
            body.add_row(f"  {first}", *others)
        parts.append(body)
    if tail:
        parts += ["", list_of(tail)]
    return Group(*parts, "")
