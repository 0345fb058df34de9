"""``scheduler-repo db``: the schema of a database."""

import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Optional

import click

from scheduler_repo.cli.commands.purge import purge
from scheduler_repo.cli.options import database_url_option, read_database
from scheduler_repo.cli.output.amounts import format_count
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.terminal import quote_lines, say, say_error

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from scheduler_repo.database.schema.catalog import SchemaDifference
    from scheduler_repo.database.schema.upgrade import SchemaUpgrade
    from scheduler_repo.errors import SchemaMismatch

_NOTHING: Final = "nothing"
_OWNER: Final = "scheduler_repo_owner"
_ROLES_FIRST: Final = "run sql/roles.sql in this database first, "


@click.group(commands=[purge])
def db() -> None:
    """Make, check and purge a database.

    Run sql/roles.sql once per database as a superuser before the first upgrade, then these commands as the
    role scheduler_repo_owner; purge as scheduler_repo_scheduler.
    """


@db.command()
@database_url_option
@click.pass_obj
def upgrade(invocation: Invocation, database_url: Optional[str]) -> None:
    """Bring the schema to the revision that this package needs.

    All or nothing, in one transaction; safe to repeat.
    """
    database = read_database(database_url)

    async def work() -> "SchemaUpgrade":
        from scheduler_repo.database.connecting import connect
        from scheduler_repo.database.schema.upgrade import upgrade_schema

        invocation.aftermath = "the schema is as it was, or fully upgraded"
        role = f"upgrade as the role {_OWNER}"
        async with connect(database) as connection, _add_advice(connection, owner=_ROLES_FIRST, others=role):
            return await upgrade_schema(connection)

    done = invocation.run(work)
    if done.from_revision == done.to_revision:
        say(f"the schema is already at revision {done.to_revision}; each role has its privileges")
    else:
        say(f"upgraded from {done.from_revision or _NOTHING} to revision {done.to_revision}")


@db.command()
@database_url_option
@click.pass_obj
def current(invocation: Invocation, database_url: Optional[str]) -> None:
    """Show the revision of the schema, and the one needed.

    The exit code is 0 if they are the same, else 1.
    """
    from scheduler_repo.database.schema.version import current_revision, head_revision

    database = read_database(database_url)

    async def work() -> "tuple[Optional[str], Optional[SchemaMismatch]]":
        from scheduler_repo.database.connecting import connect

        async with connect(database) as connection:
            return await current_revision(connection), await _find_mismatch(connection)

    found, mismatch = invocation.run(work)
    say(f"current: {found or _NOTHING}", f"head:    {head_revision()}")
    if mismatch is not None:
        raise mismatch


@db.command()
@database_url_option
@click.pass_obj
def check(invocation: Invocation, database_url: Optional[str]) -> int:
    """Compare the tables with what this package expects.

    Prints each difference; the exit code is 1 if there is any. Leaves no trace in the database.
    """
    database = read_database(database_url)

    async def work() -> "tuple[tuple[SchemaDifference, ...], Optional[SchemaMismatch]]":
        from scheduler_repo.database.connecting import connect
        from scheduler_repo.database.schema.upgrade import check_schema

        async with connect(database) as connection:
            async with _add_advice(connection, owner=_ROLES_FIRST, others=""):
                differences = await check_schema(connection)
            return differences, await _find_mismatch(connection)

    differences, mismatch = invocation.run(work)
    if not differences:
        if mismatch is not None:
            raise mismatch
        say("the schema is as this package expects it")
        return 0
    for difference in differences:
        say(f"{difference.kind} {difference.name}")
        say(*_lay_out("expected", difference.expected), *_lay_out("found", difference.found))
    advice = "undo what was changed by hand" if mismatch is None else str(mismatch)
    say_error(f"{format_count(len(differences), 'difference')}; {advice}")
    return 1


async def _find_mismatch(connection: "AsyncConnection") -> "Optional[SchemaMismatch]":
    from scheduler_repo.database.schema.version import require_schema
    from scheduler_repo.errors import SchemaMismatch

    try:
        await require_schema(connection)
    except SchemaMismatch as error:
        return error
    return None


@asynccontextmanager
async def _add_advice(connection: "AsyncConnection", *, owner: str, others: str) -> AsyncIterator[None]:
    """Say in PermissionDenied what the owner role, or any other role, should do about it."""
    import sqlalchemy as sa

    from scheduler_repo.database.sql_files import SQL_ROOT
    from scheduler_repo.errors import PermissionDenied

    try:
        yield
    except PermissionDenied as error:
        asked = await connection.execute(sa.text("SELECT current_user, current_database()"))
        role, database = asked.one()
        script = f"psql -d {shlex.quote(database)} -f {shlex.quote(str(SQL_ROOT / 'roles.sql'))}"
        advice = f"{owner}as a superuser: {script}" if role == _OWNER else others
        raise error.with_message(error.found, advice or error.advice) from error


def _lay_out(label: str, definition: Optional[str]) -> list[str]:
    """Write a definition behind its label; one of several lines below it, each marked."""
    if definition is None or "\n" not in definition:
        return [f"  {label + ':':9} {definition or _NOTHING}"]
    return [f"  {label}:", *(f"    {line}" for line in quote_lines(definition))]
