"""${message}.

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

from typing import Final, Optional

from alembic import op

revision: Final[str] = ${repr(up_revision)}
down_revision: Final[Optional[str]] = ${repr(down_revision)}
branch_labels: Final[None] = ${repr(branch_labels)}
depends_on: Final[None] = ${repr(depends_on)}


def upgrade() -> None:
    """${message}."""


def downgrade() -> None:
    """Undo it."""
