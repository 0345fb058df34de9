"""Alembic, run on a connection of ours, with scripts and a version table of our own."""

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from scheduler_repo.database.sql_files import SQL_ROOT


def migration_config(connection: sa.Connection) -> Config:
    """The configuration that has Alembic run this package's migrations in the connection's transaction."""
    config = Config(attributes={"connection": connection})
    # Config reads % as the start of an interpolation.
    config.set_main_option("script_location", str(SQL_ROOT / "migrations").replace("%", "%%"))
    return config


def migrate_up(connection: sa.Connection, revision: str) -> None:
    """Run the migrations that lead to ``revision``; nothing if the database is there already."""
    command.upgrade(migration_config(connection), revision)


def migrate_down(connection: sa.Connection, revision: str) -> None:
    """Undo the migrations after ``revision``; ``base`` undoes all, and loses all data."""
    command.downgrade(migration_config(connection), revision)
