"""What a table has that SQLAlchemy has no words for, or not in every version that is supported."""

import sqlalchemy as sa

from scheduler_repo.models.base import Base


def run_after_create(row: type[Base], *statements: str) -> None:
    """Have statements run, in the same transaction, whenever a row's table is created from the metadata."""

    def run(_: sa.Table, connection: sa.Connection, **__: object) -> None:
        for statement in statements:
            connection.execute(sa.text(statement))

    sa.event.listen(row.__table__, "after_create", run)


def set_fillfactor(row: type[Base], percent: int) -> None:
    """Have a row's table leave the rest of each page free for updates; ``percent`` is 10 to 100."""
    # Not postgresql_with on the table: SQLAlchemy knows it from 2.1 on, and 2.0 is supported too.
    run_after_create(row, f"ALTER TABLE {row.__tablename__} SET (fillfactor = {percent})")
