"""``scheduler-repo db``: the schema of a database."""

import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Optional

import click

from scheduler_repo.cli.commands.purge import purge
from scheduler_repo.cli.options import database_url_option, debug_option, given_database
from scheduler_repo.cli.process.invocation import Invocation

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from scheduler_repo.database.schema.upgrade import SchemaDifference, SchemaUpgrade
    from scheduler_repo.errors import SchemaMismatch


_NOTHING: Final = "nothing"
_OWNER: Final = "scheduler_repo_owner"


@click.group()
@debug_option
def db() -> None:
    """Make, check and purge a database.

    Run sql/roles.sql once per database as a superuser before the first upgrade, then these commands as the
    role scheduler_repo_owner; purge as scheduler_repo_scheduler.
    """


db.add_command(purge)


@db.command()
@database_url_option
@debug_option
@click.pass_obj
def upgrade(invocation: Invocation, database_url: Optional[str]) -> None:
    """Bring the schema to the revision that this package needs.

    All or nothing, in one transaction; safe to repeat.
    """
    settings = given_database(database_url)

    async def work() -> "SchemaUpgrade":
        from scheduler_repo.cli.process.servers import connect, open_engine
        from scheduler_repo.database.schema.upgrade import upgrade_schema

        invocation.aftermath = "the schema is as it was, or fully upgraded"
        async with (
            open_engine(settings) as engine,
            connect(engine, settings) as connection,
            _advising(
                connection,
                owner="run sql/roles.sql in this database first, ",
                others=f"upgrade as the role {_OWNER}",
            ),
        ):
            return await upgrade_schema(connection)

    done = invocation.run(work)
    if done.from_revision == done.to_revision:
        click.echo(f"the schema is at revision {done.to_revision} already; privileges were set again")
    else:
        click.echo(f"upgraded from {done.from_revision or _NOTHING} to revision {done.to_revision}")


@db.command()
@database_url_option
@debug_option
@click.pass_obj
def current(invocation: Invocation, database_url: Optional[str]) -> None:
    """Show the revision of the schema, and the one needed.

    The exit code is 0 if they are the same, else 1.
    """
    settings = given_database(database_url)

    async def work() -> "tuple[Optional[str], Optional[SchemaMismatch]]":
        from scheduler_repo.cli.process.servers import connect, open_engine
        from scheduler_repo.database.schema.version import current_revision, require_schema
        from scheduler_repo.errors import SchemaMismatch

        async with open_engine(settings) as engine, connect(engine, settings) as connection:
            found = await current_revision(connection)
            try:
                await require_schema(connection)
            except SchemaMismatch as error:
                return found, error
        return found, None

    from scheduler_repo.database.schema.version import head_revision

    found, mismatch = invocation.run(work)
    click.echo(f"current: {found or _NOTHING}\nhead:    {head_revision()}")
    if mismatch is not None:
        raise mismatch


@db.command()
@database_url_option
@debug_option
@click.pass_obj
def check(invocation: Invocation, database_url: Optional[str]) -> int:
    """Compare the tables with what this package expects.

    Prints each difference; the exit code is 1 if there is any. Leaves no trace in the database.
    """
    settings = given_database(database_url)

    async def work() -> "tuple[tuple[SchemaDifference, ...], Optional[SchemaMismatch]]":
        from scheduler_repo.cli.process.servers import connect, open_engine
        from scheduler_repo.database.schema.upgrade import check_schema
        from scheduler_repo.database.schema.version import require_schema
        from scheduler_repo.errors import SchemaMismatch

        async with open_engine(settings) as engine, connect(engine, settings) as connection:
            # The check itself says which role and which file.
            async with _advising(connection, owner="", others=""):
                differences = await check_schema(connection)
            try:
                await require_schema(connection)
            except SchemaMismatch as error:
                return differences, error
        return differences, None

    differences, mismatch = invocation.run(work)
    advice = "undo what was changed by hand" if mismatch is None else str(mismatch)
    if not differences and mismatch is not None:
        raise mismatch
    if not differences:
        click.echo("the schema is as this package expects it")
        return 0
    for difference in differences:
        click.echo(f"{difference.kind} {difference.name}")
        click.echo(f"  expected: {_indented(difference.expected)}")
        click.echo(f"  found:    {_indented(difference.found)}")
    number = len(differences)
    click.echo(f"error: {number} difference{'' if number == 1 else 's'}; {advice}", err=True)
    return 1


@asynccontextmanager
async def _advising(connection: "AsyncConnection", *, owner: str, others: str) -> AsyncIterator[None]:
    """Say, where a privilege lacks, what the owner role and what all others are to do about it."""
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
        raise PermissionDenied(f"{error}{advice and '; '}{advice}") from error


def _indented(definition: Optional[str]) -> str:
    return _NOTHING if definition is None else "\n            ".join(definition.splitlines())
