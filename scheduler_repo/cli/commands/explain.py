"""``scheduler-repo explain``: why one session waits, or what has become of it."""

import re
from typing import TYPE_CHECKING, Final, Optional
from uuid import UUID

import click

from scheduler_repo.cli.options import database_url_option, debug_option, read_database
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.types import SessionId, SessionStatus

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scheduler_repo.database.engine import ExtendedAsyncSAEngine
    from scheduler_repo.entities.scheduling_data import SchedulingData
    from scheduler_repo.entities.session import SessionState

# Python's own UUID accepts braces, underscores and hyphens anywhere.
_UUID: Final = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)
_SHOWN_CHARACTERS: Final = 60


def parse_session_id(context: click.Context, parameter: click.Parameter, text: str) -> SessionId:
    """Return the id of a session; refuses a URL without repeating it, as it may hold a password."""
    if "://" in text:
        raise click.BadParameter("this is a URL; give the id of a session")
    if _UUID.fullmatch(text) is None:
        given = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
        raise click.BadParameter(
            f"{given!r} is no session id; give a UUID, such as 6f1ed002-ab59-4c3c-8d2b-0a7c3b7a4a11 "
            "(scheduler-repo snapshot GROUP --json lists those that wait)"
        )
    return SessionId(UUID(text))


@click.command(short_help="Show why one session waits.")
@click.argument("session_id", metavar="SESSION", callback=parse_session_id)
@database_url_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the session and its explanation.")
@debug_option
@click.pass_obj
def explain(invocation: Invocation, session_id: SessionId, database_url: Optional[str], as_json: bool) -> None:
    """Show why SESSION, given by its id, waits: what blocks it first, and every figure behind that.

    How many agents fit it, slot by slot; the limits of its owners; what it depends on; its place in the queue.
    For a session that does not wait: its status and its agents. Reads only. Amounts in JSON are whole numbers
    in each slot's smallest unit.
    """
    database = read_database(database_url)

    async def work() -> None:
        from scheduler_repo.cli.output.console import CommandConsole, say_json
        from scheduler_repo.database.connecting import open_database

        async with open_database(database, to_write=False) as engine:
            found, data = await _look_up(engine, session_id)
        if as_json:
            say_json(_encode(found, data))
        else:
            CommandConsole().show(_lay_out(found, data))

    invocation.run(work)


async def _look_up(
    engine: "ExtendedAsyncSAEngine", session_id: SessionId
) -> "tuple[SessionState, Optional[SchedulingData]]":
    """Find the session and, if it waits, read its group; raises SessionNotFound.

    The two reads see two instants, so a session that left the queue in between is looked up once more.
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
        advice = "list those that wait with: scheduler-repo snapshot GROUP --json"
        raise SessionNotFound(f"{error}; {advice}") from None


def _status_text(found: "SessionState") -> str:
    from scheduler_repo.scheduling.explain.session_text import age_text, time_text

    result = "" if found.result is None else f" with {found.result.value}"
    age = age_text(found.observed_at - found.status_changed_at)
    return f"{found.status.value}{result} since {time_text(found.status_changed_at)}, {age}"


def _encode(found: "SessionState", data: "Optional[SchedulingData]") -> bytes:
    """Encode the session; ``explanation`` is null for one that does not wait."""
    import msgspec

    from scheduler_repo.scheduling.explain.reasons_text import describe
    from scheduler_repo.scheduling.explain.session import explain_session

    if data is None:
        return msgspec.json.encode({"session": found, "text": _status_text(found), "explanation": None})
    explanation = explain_session(data, found.session_id)
    text = describe(explanation.waiting, data)
    return msgspec.json.encode({"session": found, "text": text, "explanation": explanation})


def _lay_out(found: "SessionState", data: "Optional[SchedulingData]") -> "RenderableType":
    from rich.console import Group

    from scheduler_repo.cli.output.amounts import format_amount
    from scheduler_repo.cli.output.console import plain_table
    from scheduler_repo.scheduling.explain import session_text
    from scheduler_repo.scheduling.explain.session import explain_session

    observed_at = found.observed_at if data is None else data.observed_at
    facts = [
        ("session", str(found.session_id)),
        ("name", found.name),
        ("group", found.scaling_group),
        ("status", _status_text(found)),
        ("observed at", session_text.time_text(observed_at)),
    ]
    if data is None:
        if found.status is SessionStatus.PENDING:
            facts.append(("", "it left the queue and came back during the look-up; ask again"))
        facts.extend(("agent", agent_id) for agent_id in found.agent_ids)
        return Group(plain_table(facts), "")
    explanation = explain_session(data, found.session_id)
    parts: list[RenderableType] = [plain_table([*facts, *session_text.reason_facts(explanation, data)])]
    for table in session_text.explanation_tables(explanation, format_amount):
        parts += ["", table.title]
        if table.rows:
            first, *others = table.columns
            rows = [(f"  {name}", *cells) for name, *cells in table.rows]
            parts.append(plain_table(rows, (f"  {first}", *others), table.numbers))
    return Group(*parts, "", plain_table(session_text.queue_facts(explanation, data)), "")
