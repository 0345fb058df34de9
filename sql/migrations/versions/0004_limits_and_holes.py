"""Functions find their tables whatever the caller's search_path; agents that close end reservations.

Revision ID: 0004
Revises: 0003
"""

from typing import Final, Optional

from alembic import op

revision: Final[str] = "0004"
down_revision: Final[Optional[str]] = "0003"
branch_labels: Final[None] = None
depends_on: Final[None] = None

# As schema.sql has it, to the blank.
_END_RESERVATIONS: Final = """
CREATE FUNCTION agents_end_reservations() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
    AS $$
BEGIN
    DELETE FROM reservations
    WHERE session_id IN (SELECT session_id FROM kernel_reservations WHERE agent_id = NEW.id);
    RETURN NULL;
END
$$
"""

# One statement each: the driver prepares what it is given.
_UPGRADE: Final = (
    # pg_dump restores with an empty search_path. The upgrade's own names the schema and then pg_temp.
    "ALTER FUNCTION session_dependencies_mark_sessions() SET search_path FROM CURRENT",
    # An agent that takes kernels of the group no more serves no reservation, whoever changed it.
    _END_RESERVATIONS,
    """
    CREATE TRIGGER agents_end_reservations
        AFTER UPDATE OF scaling_group, status, is_schedulable ON agents
        FOR EACH ROW
        WHEN (NEW.status <> 'ALIVE' OR NOT NEW.is_schedulable OR NEW.scaling_group <> OLD.scaling_group)
        EXECUTE FUNCTION agents_end_reservations()
    """,
    # Those that were closed before there was the trigger.
    """
    DELETE FROM reservations AS r
    USING kernel_reservations AS h, agents AS a
    WHERE h.session_id = r.session_id AND a.id = h.agent_id
      AND (a.status <> 'ALIVE' OR NOT a.is_schedulable OR a.scaling_group <> r.scaling_group)
    """,
)

_DOWNGRADE: Final = (
    "DROP TRIGGER agents_end_reservations ON agents",
    "DROP FUNCTION agents_end_reservations()",
    "ALTER FUNCTION session_dependencies_mark_sessions() RESET search_path",
)


def upgrade() -> None:
    """Change the functions and tables; only the reservations go that no agent can serve any more."""
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    """Undo the upgrade; all rows stay."""
    for statement in _DOWNGRADE:
        op.execute(statement)
