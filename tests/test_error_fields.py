"""Errors name what they are about in fields, so that no program has to read a message."""

import ast
import copy
import inspect
import pickle
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import msgspec
import pytest

import scheduler_repo
from scheduler_repo import errors
from scheduler_repo.connection import Repositories, open_repositories
from scheduler_repo.database.errors import _BY_CONSTRAINT, translate_error
from scheduler_repo.entities.allocation import RejectedAllocation, RejectionCode
from scheduler_repo.entities.lifecycle import RejectedTransition, TransitionRejectionCode
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.owner import KeypairSpec, OwnersSpec, UserSpec
from scheduler_repo.entities.scaling_group import ScalingGroupSpec
from scheduler_repo.entities.session import CreationRejectionCode, RejectedSession
from scheduler_repo.entities.vfolder import MountSpec, VFolderSpec
from scheduler_repo.errors import SchedulerRepoError
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    DomainName,
    KernelId,
    LeaseHolder,
    OperationId,
    OwnerScope,
    ProjectId,
    ResourcePolicyName,
    ScalingGroupName,
    SessionId,
    UserId,
    VFolderId,
)
from tests.support.databases import SCHEDULER, Database
from tests.support.small_cluster import (
    DOMAIN,
    GROUP,
    USER,
    agent,
    cluster,
    session,
    session_id,
)

UNKNOWN = UUID(int=4711)
# The roots of what has an id or a name; where the id is not known, the constraint is.
ROOTS = (errors.NotFound, errors.AlreadyExists)


def every(kind: type[SchedulerRepoError]) -> list[type[SchedulerRepoError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in every(child))]


NAMED = [kind for root in ROOTS for kind in every(root) if kind not in ROOTS]


def fields_of(kind: type[SchedulerRepoError]) -> set[str]:
    """The fields of a class; the root's, which every error has, only where the class is a session's."""
    own = {name for each in kind.__mro__ for name in inspect.get_annotations(each)}
    own -= {"advice", "error_code", "constraint", "of_old_connection"}
    return own if kind.__name__.startswith("Session") else own - {"session_id"}


class TestClasses:
    def test_each_has_a_field_for_what_it_is_about(self) -> None:
        assert len(NAMED) > 10
        for kind in NAMED:
            assert fields_of(kind), kind
            for name in fields_of(kind):
                assert getattr(kind("no"), name) is None
                assert getattr(kind("no", **{name: "it"}), name) == "it"

    def test_no_other_field_can_be_given(self) -> None:
        for kind in every(SchedulerRepoError):
            with pytest.raises(TypeError, match="has no field colour"):
                kind("no", colour="blue")
            assert kind.about("no", colour="blue").args == ("no",)

    def test_fields_are_kept(self) -> None:
        error = errors.OwnerNotFound("no", scope=OwnerScope.USER, owner_id="ada")
        pickled = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own
        for kept in (copy.copy(error), pickled, error.with_message("at a place: no")):
            assert type(kept) is errors.OwnerNotFound
            assert (kept.scope, kept.owner_id, kept.session_id) == (OwnerScope.USER, "ada", None)

    def test_whoever_raises_one_says_what_it_is_about(self) -> None:
        """Every place in the package that builds one of them."""
        names = {
            kind.__name__: fields_of(kind) for kind in [*NAMED, errors.LeaseHeld, errors.OperationMismatch]
        }
        found = 0
        for path, call, name in _calls():
            if name in names:
                found += 1
                assert {each.arg for each in call.keywords} & names[name], f"{path}:{call.lineno} {name}"
        assert found > 10


def _calls() -> Iterator[tuple[Path, ast.Call, str]]:
    for path in Path(scheduler_repo.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                yield path, node, name


Use = Callable[[Repositories], Awaitable[object]]
FIRST = session(0, 1)
FOLDER = VFolderSpec(name="data", host="nas", user_id=USER)
NOBODY = OwnersSpec(keypairs=(KeypairSpec(access_key=AccessKey("spare"), user_id=UserId(UNKNOWN)),))
NOWHERE = OwnersSpec(users=(UserSpec(user_id=UserId(UNKNOWN), name="eve", domain_name=DomainName("nowhere")),))
OTHERWISE = OwnersSpec(users=(UserSpec(user_id=USER, name="another", domain_name=DOMAIN),))


def _session(**changes: object) -> Use:
    spec = msgspec.structs.replace(session(5, 1), **changes)
    return lambda repos: repos.sessions.create_session(spec)


async def _same_operation(repos: Repositories) -> None:
    operation_id = OperationId(UNKNOWN)
    await repos.sessions.enqueue_sessions([session(6, 1)], operation_id=operation_id)
    await repos.sessions.enqueue_sessions([session(7, 1)], operation_id=operation_id)


async def _held_lease(repos: Repositories) -> None:
    await repos.leases.acquire_lease(GROUP, LeaseHolder("ada"), timedelta(seconds=30))
    await repos.leases.acquire_lease(GROUP, LeaseHolder("bob"), timedelta(seconds=30))


RAISED: list[tuple[Use, type[SchedulerRepoError], dict[str, object]]] = [
    (
        lambda repos: repos.sessions.get_session_by_id(SessionId(UNKNOWN)),
        errors.SessionNotFound,
        {"session_id": UNKNOWN},
    ),
    (
        lambda repos: repos.sessions.get_session_state(SessionId(UNKNOWN)),
        errors.SessionNotFound,
        {"session_id": UNKNOWN},
    ),
    (
        lambda repos: repos.kernels.get_kernel_by_id(KernelId(UNKNOWN)),
        errors.KernelNotFound,
        {"kernel_id": UNKNOWN},
    ),
    (lambda repos: repos.agents.get_agent(AgentId("no")), errors.AgentNotFound, {"agent_id": "no"}),
    (
        lambda repos: repos.vfolders.get_vfolder_by_id(VFolderId(UNKNOWN)),
        errors.VFolderNotFound,
        {"vfolder_id": UNKNOWN},
    ),
    (
        lambda repos: repos.scaling_groups.get_scaling_group(ScalingGroupName("no")),
        errors.ScalingGroupNotFound,
        {"scaling_group": "no"},
    ),
    (
        lambda repos: repos.scheduler.get_scheduling_data(ScalingGroupName("no")),
        errors.ScalingGroupNotFound,
        {"scaling_group": "no"},
    ),
    (
        lambda repos: repos.resource_policies.get_resource_policy(ResourcePolicyName("no")),
        errors.ResourcePolicyNotFound,
        {"resource_policy": "no"},
    ),
    (
        lambda repos: repos.quotas.get_quota(OwnerScope.DOMAIN, DOMAIN),
        errors.QuotaNotFound,
        {"scope": OwnerScope.DOMAIN, "owner_id": DOMAIN},
    ),
    (
        lambda repos: repos.owners.get_project(ProjectId(UNKNOWN)),
        errors.OwnerNotFound,
        {"scope": OwnerScope.PROJECT, "owner_id": str(UNKNOWN)},
    ),
    (
        lambda repos: repos.owners.get_keypair(AccessKey("no")),
        errors.OwnerNotFound,
        {"scope": OwnerScope.ACCESS_KEY, "owner_id": "no"},
    ),
    (
        lambda repos: repos.owners.register_owners(NOBODY),
        errors.OwnerNotFound,
        {"scope": OwnerScope.USER, "owner_id": str(UNKNOWN), "constraint": "keypairs_user_id_fkey"},
    ),
    (
        lambda repos: repos.owners.register_owners(NOWHERE),
        errors.OwnerNotFound,
        {"scope": OwnerScope.DOMAIN, "owner_id": "nowhere", "constraint": "users_domain_name_fkey"},
    ),
    (
        lambda repos: repos.owners.register_owners(OTHERWISE),
        errors.OwnerAlreadyExists,
        {"scope": OwnerScope.USER, "owner_id": str(USER)},
    ),
    (
        lambda repos: repos.scaling_groups.list_usable_scaling_groups(AccessKey("no")),
        errors.OwnerNotFound,
        {"scope": OwnerScope.ACCESS_KEY, "owner_id": "no"},
    ),
    (
        lambda repos: repos.scaling_groups.create_scaling_groups([ScalingGroupSpec(name=GROUP)]),
        errors.ScalingGroupAlreadyExists,
        {"scaling_group": GROUP, "constraint": "scaling_groups_pkey"},
    ),
    (
        lambda repos: repos.agents.register_agents([agent("a1")]),
        errors.AgentAlreadyExists,
        {"agent_id": "a1", "constraint": "agents_pkey"},
    ),
    (
        lambda repos: repos.agents.register_agents([agent("a2", scaling_group=ScalingGroupName("x(y)=(z"))]),
        errors.ScalingGroupNotFound,
        {"scaling_group": "x(y)=(z", "constraint": "agents_scaling_group_fkey"},
    ),
    (
        lambda repos: repos.vfolders.create_vfolders([FOLDER]),
        errors.VFolderAlreadyExists,
        {"vfolder_id": FOLDER.vfolder_id, "constraint": "vfolders_pkey"},
    ),
    (
        lambda repos: repos.sessions.create_session(FIRST),
        errors.SessionAlreadyExists,
        {"session_id": FIRST.session_id},
    ),
    (
        _session(scaling_group=ScalingGroupName("no")),
        errors.ScalingGroupNotFound,
        {"scaling_group": "no", "session_id": session_id(5)},
    ),
    (
        _session(access_key=AccessKey("no")),
        errors.OwnerNotFound,
        {"scope": OwnerScope.ACCESS_KEY, "owner_id": "no", "session_id": session_id(5)},
    ),
    (
        _session(project_id=ProjectId(UNKNOWN)),
        errors.OwnerNotFound,
        {"scope": OwnerScope.PROJECT, "owner_id": str(UNKNOWN)},
    ),
    (
        _session(mounts=(MountSpec(vfolder_id=VFolderId(UNKNOWN), mount_path="/data"),)),
        errors.VFolderNotFound,
        {"vfolder_id": UNKNOWN},
    ),
    (_same_operation, errors.OperationMismatch, {"operation_id": UNKNOWN}),
    (_held_lease, errors.LeaseHeld, {"scaling_group": GROUP, "holder": "ada", "epoch": 1}),
]


class TestOnAServer:
    async def test_fields_hold_what_was_asked_for(self, migrated_database: Database) -> None:
        async with open_repositories(migrated_database.url_as(SCHEDULER)) as repos:
            await repos.cluster.load_cluster(cluster([agent("a1")], [FIRST]))
            await repos.vfolders.create_vfolders([FOLDER])
            for use, kind, named in RAISED:
                with pytest.raises(kind) as caught:
                    await use(repos)
                assert type(caught.value) is kind
                found = {name: getattr(caught.value, name) for name in named}
                assert found == named, caught.value
            assert {kind for _, kind, _ in RAISED} >= set(NAMED)


class TestConstraints:
    @pytest.mark.parametrize("words", ["Key {} already exists.", "Schlüssel »{}« existiert bereits."])
    def test_key_is_read_in_any_language(self, words: str) -> None:
        for constraint, (kind, _, field) in _BY_CONSTRAINT.items():
            key = f"(a, b)=({UNKNOWN}, {UNKNOWN})" if field in OwnerScope.__members__ else f"(a)=({UNKNOWN})"
            cause = asyncpg.UniqueViolationError("no")
            cause.constraint_name, cause.detail = constraint, words.format(key)
            error = translate_error(cause)
            assert type(error) is kind
            assert vars(error)["constraint"] == constraint
            assert [value for value in vars(error).values() if str(value) == str(UNKNOWN)] or not field

    def test_others_are_named(self) -> None:
        cause = asyncpg.CheckViolationError("no")
        cause.constraint_name = "agent_slots_occupied_check"
        error = translate_error(cause)
        assert isinstance(error, errors.ConstraintViolated)
        assert error.constraint == "agent_slots_occupied_check"


class TestRejections:
    def test_errors_of_one_session_name_it(self) -> None:
        session_id, agent_id, kernel_id = SessionId(UNKNOWN), AgentId("a1"), KernelId(UNKNOWN)
        of_transitions = [
            RejectedTransition(session_id, code, None, kernel_id).to_error() for code in TransitionRejectionCode
        ]
        of_placements = [RejectedAllocation(session_id, code, agent_id).to_error() for code in RejectionCode]
        locked = RowLocked("agents", "a1", (1,))
        of_locks = [
            RejectedTransition(session_id, TransitionRejectionCode.ROW_LOCKED, locked=locked).to_error(),
            RejectedAllocation(session_id, RejectionCode.ROW_LOCKED, agent_id, locked).to_error(),
            RejectedSession(session_id, CreationRejectionCode.ROW_LOCKED, "no", locked).to_error(),
        ]
        of_creations = [RejectedSession(session_id, code, "no").to_error() for code in CreationRejectionCode]
        for error in (*of_transitions, *of_placements, *of_locks, *of_creations):
            assert error.session_id == session_id
            if isinstance(error, (errors.AgentNotFound, errors.AllocationRefused)):
                assert error.agent_id == agent_id
            if isinstance(error, errors.KernelNotFound):
                assert error.kernel_id == kernel_id
