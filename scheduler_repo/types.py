"""The field's words as types: ids, names, statuses."""

import enum
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Final, NamedTuple, NewType, NoReturn, Optional, TypeVar
from uuid import UUID

from scheduler_repo.errors import UnknownWord

SessionId = NewType("SessionId", UUID)
KernelId = NewType("KernelId", UUID)
VFolderId = NewType("VFolderId", UUID)
UserId = NewType("UserId", UUID)
ProjectId = NewType("ProjectId", UUID)
# One write, made once however often it is asked for.
OperationId = NewType("OperationId", UUID)

# The order of UUIDs, as a key: to compare the objects takes three times as long.
uuid_order: Final = attrgetter("int")

AgentId = NewType("AgentId", str)
ScalingGroupName = NewType("ScalingGroupName", str)
SlotName = NewType("SlotName", str)
AccessKey = NewType("AccessKey", str)
DomainName = NewType("DomainName", str)
ResourcePolicyName = NewType("ResourcePolicyName", str)
LeaseHolder = NewType("LeaseHolder", str)
Architecture = NewType("Architecture", str)

# A transaction's 64-bit number (xid8). A snapshot that includes a result's has seen what was written
# (SchedulingData.has_seen); a result has None where nothing was to be written.
TransactionId = NewType("TransactionId", int)

# One amount per slot type, in the slot's smallest unit, at the slot type's ``slot_index``.
SlotVector = tuple[int, ...]
# The same for limits: None where there is no limit.
SlotLimits = tuple[Optional[int], ...]


class Word(enum.StrEnum):
    """A word that the database stores, such as a status; an unknown one raises UnknownWord."""

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        known = ", ".join(cls)
        raise UnknownWord(
            f"{value!r:.60} is no {cls.__name__} that this version knows ({known}); "
            "a newer version may have stored it, upgrade this one"
        )


WordT = TypeVar("WordT", bound=Word)


class WordTable(dict[str, WordT]):
    """The members of a Word by the words that the database stores; faster than calling the Word."""

    def __init__(self, kind: type[WordT]) -> None:
        """List the members; a look-up of any other word raises UnknownWord."""
        super().__init__((member.value, member) for member in kind)
        self._kind = kind

    def __missing__(self, word: str) -> WordT:
        return self._kind(word)


class OptionalWordTable(dict[Optional[str], Optional[WordT]]):
    """A WordTable of a column that may be NULL."""

    def __init__(self, kind: type[WordT]) -> None:
        """List the members and None; a look-up of any other word raises UnknownWord."""
        super().__init__((member.value, member) for member in kind)
        self[None] = None
        self._kind = kind

    def __missing__(self, word: str) -> WordT:
        return self._kind(word)


class SessionStatus(Word):
    """The status of a session, or of one of its kernels."""

    PENDING = "PENDING"
    SCHEDULED = "SCHEDULED"
    PREPARING = "PREPARING"
    RUNNING = "RUNNING"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    CANCELLED = "CANCELLED"
    ERROR = "ERROR"


# A kernel in one of these holds its slots on an agent; a session in one of these counts for its owners.
OCCUPYING_STATUSES = (
    SessionStatus.SCHEDULED,
    SessionStatus.PREPARING,
    SessionStatus.RUNNING,
    SessionStatus.TERMINATING,
)
FINISHED_STATUSES = (SessionStatus.TERMINATED, SessionStatus.CANCELLED, SessionStatus.ERROR)


class SessionResult(Word):
    """How a finished session ended, as its dependants see it."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"


class SessionType(Word):
    """The purpose of a session."""

    INTERACTIVE = "INTERACTIVE"
    BATCH = "BATCH"
    INFERENCE = "INFERENCE"
    SYSTEM = "SYSTEM"


class ClusterMode(Word):
    """Whether a session's kernels share one agent or may be spread over several."""

    SINGLE_NODE = "SINGLE_NODE"
    MULTI_NODE = "MULTI_NODE"


class AgentStatus(Word):
    """Whether an agent takes kernels (ALIVE and schedulable), only keeps them, or is gone."""

    ALIVE = "ALIVE"
    DRAINING = "DRAINING"
    LOST = "LOST"
    TERMINATED = "TERMINATED"


class OwnerScope(Word):
    """The four kinds of owner that may carry a quota and a policy."""

    ACCESS_KEY = "ACCESS_KEY"
    USER = "USER"
    PROJECT = "PROJECT"
    DOMAIN = "DOMAIN"


class OwnerFields(NamedTuple):
    """The names of fields that hold an owner's id, or several owners; and the type of the ids."""

    one: str
    several: str
    id_type: type


OWNER_FIELDS: Final[Mapping[OwnerScope, OwnerFields]] = {
    OwnerScope.ACCESS_KEY: OwnerFields("access_key", "access_keys", str),
    OwnerScope.USER: OwnerFields("user_id", "users", UUID),
    OwnerScope.PROJECT: OwnerFields("project_id", "projects", UUID),
    OwnerScope.DOMAIN: OwnerFields("domain_name", "domains", str),
}
OwnerIds = tuple[AccessKey, UserId, ProjectId, DomainName]
OwnerT = TypeVar("OwnerT", AccessKey, UserId, ProjectId, DomainName)
# The four owners of what has their ids, in the order of OwnerScope.
owner_ids: Final[Callable[[object], OwnerIds]] = attrgetter(*(each.one for each in OWNER_FIELDS.values()))


class PreemptionScope(Word):
    """The sessions that may be ended for a pending one: the user's, project's, domain's or group's."""

    USER = "USER"
    PROJECT = "PROJECT"
    DOMAIN = "DOMAIN"
    GROUP = "GROUP"


class MountPermission(Word):
    """The access that a session has to a vfolder that it mounts."""

    READ_ONLY = "READ_ONLY"
    READ_WRITE = "READ_WRITE"
