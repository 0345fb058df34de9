"""The entities of the plain way: the package's tables, with the relationships that one would give them."""

from typing import TYPE_CHECKING, Optional

from sqlalchemy.orm import DeclarativeBase, Mapped, foreign, relationship, remote

from scheduler_repo.models import (
    AgentRow,
    AgentSlotRow,
    Base,
    KernelReservationRow,
    KernelRow,
    QuotaRow,
    ReservationRow,
    ResourcePolicyRow,
    SessionDependencyRow,
    SessionRow,
)
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    DomainName,
    KernelId,
    ProjectId,
    SessionId,
    SlotName,
    UserId,
)

_kernel, _session, _dependency = KernelRow.__table__.c, SessionRow.__table__.c, SessionDependencyRow.__table__.c


class PlainBase(DeclarativeBase):
    """The root of the entities, on the tables of the package."""

    metadata = Base.metadata


class PlainKernel(PlainBase):
    """One container of a session."""

    __table__ = KernelRow.__table__
    if TYPE_CHECKING:
        id: Mapped[KernelId]
        session_id: Mapped[SessionId]
        access_key: Mapped[AccessKey]
        user_id: Mapped[UserId]
        project_id: Mapped[ProjectId]
        domain_name: Mapped[DomainName]
        requested_slots: Mapped[list[int]]
        occupied_slots: Mapped[list[int]]


class PlainDependency(PlainBase):
    """One session that waits for another, which may be gone."""

    __table__ = SessionDependencyRow.__table__
    if TYPE_CHECKING:
        depends_on: Mapped[SessionId]
    other: Mapped[Optional["PlainSession"]] = relationship(
        primaryjoin=lambda: foreign(_dependency.depends_on) == remote(_session.id), viewonly=True
    )


class PlainSession(PlainBase):
    """One unit of work, with its kernels and what it waits for."""

    __table__ = SessionRow.__table__
    if TYPE_CHECKING:
        id: Mapped[SessionId]
        priority: Mapped[int]
        status: Mapped[str]
        result: Mapped[Optional[str]]
    kernels: Mapped[list[PlainKernel]] = relationship(order_by=_kernel.kernel_index)
    dependencies: Mapped[list[PlainDependency]] = relationship(order_by=_dependency.depends_on)


class PlainAgentSlot(PlainBase):
    """What an agent has of one slot."""

    __table__ = AgentSlotRow.__table__
    if TYPE_CHECKING:
        slot_name: Mapped[SlotName]
        capacity: Mapped[int]
        occupied: Mapped[int]


class PlainAgent(PlainBase):
    """One node, with its slots."""

    __table__ = AgentRow.__table__
    if TYPE_CHECKING:
        id: Mapped[AgentId]
    slots: Mapped[list[PlainAgentSlot]] = relationship()


class PlainKernelReservation(PlainBase):
    """One kernel that is held on an agent."""

    __table__ = KernelReservationRow.__table__
    if TYPE_CHECKING:
        kernel_id: Mapped[KernelId]
        agent_id: Mapped[AgentId]
    kernel: Mapped[PlainKernel] = relationship()


class PlainReservation(PlainBase):
    """One session that is held on agents, with its kernels."""

    __table__ = ReservationRow.__table__
    if TYPE_CHECKING:
        session_id: Mapped[SessionId]
    kernels: Mapped[list[PlainKernelReservation]] = relationship()


class PlainPolicy(PlainBase):
    """Limits that owners share."""

    __table__ = ResourcePolicyRow.__table__
    if TYPE_CHECKING:
        slot_limits: Mapped[list[Optional[int]]]
        max_concurrent_sessions: Mapped[Optional[int]]
        max_kernels_per_session: Mapped[Optional[int]]


class PlainQuota(PlainBase):
    """The limits of one owner, with those of its policy."""

    __table__ = QuotaRow.__table__
    if TYPE_CHECKING:
        scope: Mapped[str]
        owner_id: Mapped[str]
        slot_limits: Mapped[list[Optional[int]]]
        max_concurrent_sessions: Mapped[Optional[int]]
    policy: Mapped[Optional[PlainPolicy]] = relationship()
