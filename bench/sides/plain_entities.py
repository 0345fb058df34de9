"""The entities of the plain way: the package's tables, with the relationships that one would give them."""

from typing import TYPE_CHECKING

from sqlalchemy.orm import DeclarativeBase, Mapped, relationship

from scheduler_repo.models import AgentRow, AgentSlotRow, Base, KernelRow, SessionDependencyRow, SessionRow
from scheduler_repo.types import AgentId, SessionId


class PlainBase(DeclarativeBase):
    """The root of the entities, on the tables of the package."""

    metadata = Base.metadata


class PlainKernel(PlainBase):
    """One container of a session."""

    __table__ = KernelRow.__table__


class PlainDependency(PlainBase):
    """One session that waits for another."""

    __table__ = SessionDependencyRow.__table__


class PlainSession(PlainBase):
    """One unit of work, with its kernels and what it waits for."""

    __table__ = SessionRow.__table__
    if TYPE_CHECKING:
        id: Mapped[SessionId]
    kernels: Mapped[list[PlainKernel]] = relationship(order_by=KernelRow.__table__.c.kernel_index)
    dependencies: Mapped[list[PlainDependency]] = relationship()


class PlainAgentSlot(PlainBase):
    """What an agent has of one slot."""

    __table__ = AgentSlotRow.__table__


class PlainAgent(PlainBase):
    """One node, with its slots."""

    __table__ = AgentRow.__table__
    if TYPE_CHECKING:
        id: Mapped[AgentId]
    slots: Mapped[list[PlainAgentSlot]] = relationship()
