"""Functions find their tables whatever the caller's search_path.

Revision ID: 0004
Revises: 0003
"""

from typing import Final, Optional

from alembic import op

revision: Final[str] = "0004"
down_revision: Final[Optional[str]] = "0003"
branch_labels: Final[None] = None
depends_on: Final[None] = None

# One statement each: the driver prepares what it is given.
_UPGRADE: Final = (
    # pg_dump restores with an empty search_path. The upgrade's own names the schema and then pg_temp.
    "ALTER FUNCTION session_dependencies_mark_sessions() SET search_path FROM CURRENT",
)

_DOWNGRADE: Final = ("ALTER FUNCTION session_dependencies_mark_sessions() RESET search_path",)


def upgrade() -> None:
    """Change the functions and tables; no row changes."""
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    """Undo the upgrade; all rows stay."""
    for statement in _DOWNGRADE:
        op.execute(statement)
