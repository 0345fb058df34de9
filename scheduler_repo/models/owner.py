"""Who owns sessions: domains, projects, users and their keypairs."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base
from scheduler_repo.types import AccessKey, DomainName, ProjectId, UserId


class DomainRow(Base):
    """A tenant: the outermost owner."""

    __tablename__ = "domains"

    name: Mapped[DomainName] = mapped_column(primary_key=True)
    is_active: Mapped[bool] = mapped_column(server_default=sa.true())
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class ProjectRow(Base):
    """A project of a domain."""

    __tablename__ = "projects"

    id: Mapped[ProjectId] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(ORDERED_TEXT)
    domain_name: Mapped[DomainName] = mapped_column(sa.ForeignKey("domains.name"))
    is_active: Mapped[bool] = mapped_column(server_default=sa.true())
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class UserRow(Base):
    """A user of a domain."""

    __tablename__ = "users"

    id: Mapped[UserId] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(ORDERED_TEXT)
    domain_name: Mapped[DomainName] = mapped_column(sa.ForeignKey("domains.name"))
    is_active: Mapped[bool] = mapped_column(server_default=sa.true())
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class KeypairRow(Base):
    """An access key of a user."""

    __tablename__ = "keypairs"

    access_key: Mapped[AccessKey] = mapped_column(primary_key=True)
    user_id: Mapped[UserId] = mapped_column(sa.ForeignKey("users.id"), index=True)
    is_active: Mapped[bool] = mapped_column(server_default=sa.true())
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
