"""``scheduler-repo explain``: why one session waits, or what has become of it."""

import re
from typing import TYPE_CHECKING, Final, Optional
from uuid import UUID

import click

from scheduler_repo.cli.options import database_url_option, read_database, refuse_url
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.terminal import say_json
from scheduler_repo.quoting import quoted
from scheduler_repo.secret_urls import may_hold_secret
from scheduler_repo.types import SessionId, SessionStatus

if TYPE_CHECKING:
    from scheduler_repo.database.engine import ExtendedAsyncSAEngine
    from scheduler_repo.entities.scheduling_data import SchedulingData
    from scheduler_repo.entities.session import SessionState

# Python's own UUID accepts braces, underscores and hyphens anywhere.
_SHOWN_CHARACTERS: Final = 60
_UUID: Final = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)


def parse_session_id(context: click.Context, parameter: click.Parameter, text: str) -> SessionId:
    """Return the id of a session; refuses a URL without repeating it, as it may hold a password."""
    refuse_url(text, "the id of a session")
    if _UUID.fullmatch(text) is None:
        given = quoted(text)
        if len(text) > _SHOWN_CHARACTERS and not may_hold_secret(text):
            given = repr(f"{text[:_SHOWN_CHARACTERS]}…")
        raise click.BadParameter(
            f"{given} is no session id; give a UUID, such as 6f1ed002-ab59-4c3c-8d2b-0a7c3b7a4a11 "
            "(scheduler-repo snapshot GROUP --json lists those that wait)"
        )
    return SessionId(UUID(text))


@click.command(short_help="Show why one session waits.")
@click.argument("session_id", metavar="SESSION", callback=parse_session_id)
@database_url_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the session and its explanation.")
@click.pass_obj
def explain(invocation: Invocation, session_id: SessionId, database_url: Optional[str], as_json: bool) -> None:
    """Show why SESSION, given by its id, waits: what blocks it first, and every figure behind that.

    How many agents fit it, slot by slot; the limits of its owners; what it depends on; its place in the queue.
    For a session that does not wait: its status and its agents. For any: which of its rows other clients have
    locked, so that a scheduler leaves it for later. Reads only. Amounts in JSON are whole numbers
    in each slot's smallest unit.
    """
    database = read_database(database_url)

    async def work() -> None:
        from scheduler_repo.cli.output.console import CommandConsole
        from scheduler_repo.cli.output.session import encode_session, lay_out_session
        from scheduler_repo.database.connecting import open_database
        from scheduler_repo.repositories.session.db_source import SessionDBSource
        from scheduler_repo.repositories.session.repository import SessionRepository

        async with open_database(database, to_write=False) as engine:
            found, data = await _look_up(engine, session_id)
            locked = await SessionRepository(SessionDBSource(engine)).list_locked_rows(session_id)
        if as_json:
            say_json(encode_session(found, data, locked))
        else:
            CommandConsole().show(lay_out_session(found, data, locked))

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
        advice = "correct the id; those that wait are in: scheduler-repo snapshot GROUP --json"
        raise error.with_message(error.found, advice) from None
