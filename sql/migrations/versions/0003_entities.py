"""Entities one by one: searches in order, vfolders mounted, and which groups an owner may use.

Revision ID: 0003
Revises: 0002
"""

from typing import Final, Optional

from alembic import op

revision: Final[str] = "0003"
down_revision: Final[Optional[str]] = "0002"
branch_labels: Final[None] = None
depends_on: Final[None] = None

# One statement each: the driver prepares what it is given.
_UPGRADE: Final = (
    "ALTER TABLE scaling_groups ADD COLUMN is_public boolean NOT NULL DEFAULT true",
    """CREATE TABLE scaling_group_grants (
    scope         text COLLATE "C" NOT NULL,
    owner_id      text COLLATE "C" NOT NULL,
    scaling_group text COLLATE "C" NOT NULL,
    CONSTRAINT scaling_group_grants_pkey PRIMARY KEY (scope, owner_id, scaling_group),
    CONSTRAINT scaling_group_grants_scaling_group_fkey
        FOREIGN KEY (scaling_group) REFERENCES scaling_groups (name),
    CONSTRAINT scaling_group_grants_scope_check CHECK (scope IN ('ACCESS_KEY', 'USER', 'PROJECT', 'DOMAIN')),
    CONSTRAINT scaling_group_grants_owner_id_check CHECK (
        scope IN ('ACCESS_KEY', 'DOMAIN')
        OR owner_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')
)""",
    "CREATE INDEX scaling_group_grants_scaling_group_idx ON scaling_group_grants (scaling_group)",
    "CREATE INDEX agents_scaling_group_idx ON agents (scaling_group, id)",
    "CREATE INDEX sessions_created_at_idx ON sessions (created_at, id)",
    "CREATE INDEX sessions_access_key_idx ON sessions (access_key, created_at, id)",
    "CREATE INDEX sessions_project_id_idx ON sessions (project_id, created_at, id)",
    "CREATE INDEX sessions_scaling_group_idx ON sessions (scaling_group, created_at, id)",
)

_DOWNGRADE: Final = (
    "DROP INDEX sessions_scaling_group_idx",
    "DROP INDEX sessions_project_id_idx",
    "DROP INDEX sessions_access_key_idx",
    "DROP INDEX sessions_created_at_idx",
    "DROP INDEX agents_scaling_group_idx",
    "DROP TABLE scaling_group_grants",
    "ALTER TABLE scaling_groups DROP COLUMN is_public",
)


def upgrade() -> None:
    """Add the column, the table and the indexes; groups that are there are open to all."""
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    """Drop what the upgrade added, with what it holds; all other rows stay."""
    for statement in _DOWNGRADE:
        op.execute(statement)
