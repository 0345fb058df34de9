"""Runs migrations on the connection of ``scheduler_repo.database.schema.upgrade``, in its transaction."""

import sqlalchemy as sa
from alembic import context

from scheduler_repo.database.schema.version import VERSION_TABLE
from scheduler_repo.errors import InvalidInput


def run_migrations() -> None:
    """Run what was asked of Alembic; the transaction is begun and ended by who owns the connection."""
    connection = context.config.attributes.get("connection")
    if not isinstance(connection, sa.Connection):
        raise InvalidInput(
            "the migrations need a connection in config.attributes['connection'], and there is none; "
            "run: scheduler-repo db upgrade --database-url ..."
        )
    context.configure(connection=connection, version_table=VERSION_TABLE)
    with context.begin_transaction():
        context.run_migrations()


run_migrations()
