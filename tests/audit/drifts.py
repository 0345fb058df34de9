"""Ways in which a database comes to contradict itself, and what an audit is to say of each."""

from typing import Final, Optional
from uuid import UUID

import msgspec

from scheduler_repo.entities.audit import AuditCheck, AuditFinding
from tests.audit.mixed_cluster import (
    A1,
    A2,
    BUILT,
    CONTAINERS,
    DEPENDENT,
    DESIGNATED,
    ENDED,
    HELD_CPU,
    HELD_MEM,
    IDLE,
    RESERVED,
    SINGLE,
    SPREAD,
    WAITING,
)
from tests.support.small_cluster import kernel_id, session_id


class Drift(msgspec.Struct, frozen=True):
    """What the tables' owner does, and all that is found after it."""

    name: str
    script: str
    findings: tuple[AuditFinding, ...]


def drift(name: str, script: str, *findings: AuditFinding) -> Drift:
    return Drift(name, script, findings)


def _session(check: AuditCheck, number: int, what: str, expected: str, found: str) -> AuditFinding:
    return AuditFinding(check, "session", str(session_id(number)), what, expected, found)


def _kernel(
    check: AuditCheck, number: int, what: str, expected: str, found: str, index: int = 0
) -> AuditFinding:
    return AuditFinding(check, "kernel", str(kernel_id(number, index)), what, expected, found)


def _agent(check: AuditCheck, agent_id: str, what: str, expected: object, found: object) -> AuditFinding:
    return AuditFinding(check, "agent", agent_id, what, str(expected), str(found))


def _usage(entity: str, owner_id: str, what: str, expected: int, found: int) -> AuditFinding:
    return AuditFinding(AuditCheck.OWNER_USAGE, entity, owner_id, what, str(expected), str(found))


def _of(number: int, index: Optional[int] = None) -> str:
    """A condition: the session, or one of its kernels."""
    return f"id = '{session_id(number) if index is None else kernel_id(number, index)}'"


def _without(table: str, constraint: str) -> str:
    return f"ALTER TABLE {table} DROP CONSTRAINT {table}_{constraint};"


_OPERATION = UUID(int=77)
_STRANGER = UUID(int=88)
_DISPATCHED = "2026-01-02 03:04:05+00"

_LEDGER = (
    drift(
        "a counter above its kernels",
        f"UPDATE agent_slots SET occupied = occupied + 1 WHERE agent_id = '{A1}' AND slot_name = 'cpu'",
        _agent(AuditCheck.AGENT_SLOTS_OCCUPIED, A1, "occupied cpu", HELD_CPU[A1], HELD_CPU[A1] + 1),
    ),
    drift(
        "a counter below its kernels",
        f"UPDATE agent_slots SET occupied = 0 WHERE agent_id = '{A2}' AND slot_name = 'mem'",
        _agent(AuditCheck.AGENT_SLOTS_OCCUPIED, A2, "occupied mem", HELD_MEM[A2], 0),
    ),
    drift(
        "a counter without kernels",
        f"UPDATE agent_slots SET occupied = 7 WHERE agent_id = '{IDLE}' AND slot_name = 'cpu'",
        _agent(AuditCheck.AGENT_SLOTS_OCCUPIED, IDLE, "occupied cpu", 0, 7),
    ),
    drift(
        "kernels without a counter",
        f"DELETE FROM agent_slots WHERE agent_id = '{A2}' AND slot_name = 'mem'",
        _agent(AuditCheck.AGENT_SLOTS_OCCUPIED, A2, "occupied mem", HELD_MEM[A2], "no row in agent_slots"),
        _agent(AuditCheck.AGENT_OVERCOMMITS, A2, "capacity of mem", "at most 0", HELD_MEM[A2]),
    ),
    drift(
        "a slot that no slot type has",
        f"UPDATE kernels SET occupied_slots[3:5] = '{{0,0,6}}', requested_slots[3:5] = '{{0,0,6}}'"
        f" WHERE {_of(BUILT, 0)}",
        _agent(AuditCheck.AGENT_SLOTS_OCCUPIED, A2, "occupied slot index 4", 6, "no row in agent_slots"),
        _agent(AuditCheck.AGENT_OVERCOMMITS, A2, "capacity of slot index 4", "at most 0", 6),
    ),
    drift(
        "a container too many",
        f"UPDATE agents SET container_count = container_count + 1 WHERE id = '{A1}'",
        _agent(AuditCheck.AGENT_CONTAINER_COUNTS, A1, "container_count", CONTAINERS[A1], CONTAINERS[A1] + 1),
    ),
    drift(
        "containers that are not counted",
        f"UPDATE agents SET container_count = 0 WHERE id = '{A2}'",
        _agent(AuditCheck.AGENT_CONTAINER_COUNTS, A2, "container_count", CONTAINERS[A2], 0),
    ),
    drift(
        "containers of an agent without kernels",
        f"UPDATE agents SET container_count = 2 WHERE id = '{IDLE}'",
        _agent(AuditCheck.AGENT_CONTAINER_COUNTS, IDLE, "container_count", 0, 2),
    ),
    drift(
        "kernels above the capacity",
        _without("agent_slots", "occupied_check")
        + f"UPDATE agent_slots SET capacity = 2 WHERE agent_id = '{A1}' AND slot_name = 'cpu'",
        _agent(AuditCheck.AGENT_OVERCOMMITS, A1, "capacity of cpu", "at most 2", HELD_CPU[A1]),
    ),
    drift(
        "more containers than the agent takes",
        _without("agents", "container_count_check") + f"UPDATE agents SET max_containers = 1 WHERE id = '{A2}'",
        _agent(AuditCheck.AGENT_OVERCOMMITS, A2, "max_containers", "at most 1", CONTAINERS[A2]),
    ),
    drift(
        "kernels on an agent that is gone",
        f"UPDATE agents SET status = 'TERMINATED' WHERE id IN ('{A1}', '{IDLE}');"
        "INSERT INTO agent_history (agent_id, to_status)"
        f" VALUES ('{A1}', 'TERMINATED'), ('{IDLE}', 'TERMINATED')",
        _agent(AuditCheck.TERMINATED_AGENTS, A1, "kernels of a TERMINATED agent", 0, CONTAINERS[A1]),
    ),
    drift(
        "an agent's status that its history does not know",
        f"UPDATE agents SET status = 'DRAINING' WHERE id = '{A2}'",
        _agent(AuditCheck.AGENT_HISTORIES, A2, "status", "ALIVE", "DRAINING"),
    ),
)

_SESSIONS = (
    drift(
        "a waiting session without kernels",
        f"DELETE FROM kernels WHERE {_of(WAITING, 0)}",
        _session(AuditCheck.SESSIONS_WITHOUT_KERNELS, WAITING, "kernels", "at least one", "none, PENDING"),
    ),
    drift(
        "a status that the history does not know",
        f"UPDATE sessions SET status = 'RUNNING' WHERE {_of(SPREAD)};"
        f"UPDATE kernels SET status = 'RUNNING' WHERE session_id = '{session_id(SPREAD)}'",
        _session(AuditCheck.SESSION_HISTORIES, SPREAD, "status", "SCHEDULED", "RUNNING"),
    ),
    drift(
        "a queued status that the history does not know",
        f"INSERT INTO session_history (session_id, to_status) VALUES ('{session_id(WAITING)}', 'ERROR')",
        _session(AuditCheck.SESSION_HISTORIES, WAITING, "status", "ERROR", "PENDING"),
    ),
    drift(
        "results before the end",
        _without("sessions", "result_check")
        + f"UPDATE sessions SET result = 'SUCCESS' WHERE {_of(SPREAD)};"
        + f"UPDATE sessions SET result = 'FAILURE' WHERE {_of(WAITING)}",
        _session(AuditCheck.UNFINISHED_RESULTS, SPREAD, "result", "none, SCHEDULED", "SUCCESS"),
        _session(AuditCheck.UNFINISHED_RESULTS, WAITING, "result", "none, PENDING", "FAILURE"),
    ),
    drift(
        "a dispatch of a waiting session",
        _without("sessions", "dispatched_at_check")
        + f"UPDATE sessions SET dispatched_at = '{_DISPATCHED}' WHERE {_of(WAITING)}",
        _session(AuditCheck.PENDING_DISPATCHES, WAITING, "dispatched_at", "none", _DISPATCHED),
    ),
    drift(
        "dependencies that nobody looks at",
        f"UPDATE sessions SET has_dependencies = false WHERE {_of(DEPENDENT)}",
        _session(AuditCheck.UNMARKED_DEPENDENCIES, DEPENDENT, "has_dependencies", "true", "false"),
    ),
    drift(
        "a session of one node on two",
        f"UPDATE sessions SET cluster_mode = 'SINGLE_NODE' WHERE {_of(SPREAD)}",
        _session(AuditCheck.SPREAD_SESSIONS, SPREAD, "agents of a SINGLE_NODE session", "1", "2"),
    ),
    drift(
        "an operation without its result",
        f"INSERT INTO operations (id, kind, request_digest) VALUES ('{_OPERATION}', 'mark_sessions', 'digest')",
        AuditFinding(
            AuditCheck.OPERATIONS_WITHOUT_RESULT,
            "operation",
            str(_OPERATION),
            "result of mark_sessions",
            "a result",
            "none",
        ),
    ),
)

_KERNELS = (
    drift(
        "a kernel ahead of its session",
        f"UPDATE kernels SET status = 'RUNNING' WHERE {_of(SPREAD, 1)}",
        _kernel(AuditCheck.KERNEL_STATUSES, SPREAD, "status", "SCHEDULED", "RUNNING", index=1),
    ),
    drift(
        "an ended kernel of a waiting session",
        f"UPDATE kernels SET status = 'TERMINATED' WHERE {_of(WAITING, 0)}",
        _kernel(AuditCheck.KERNEL_STATUSES, WAITING, "status", "PENDING", "TERMINATED"),
    ),
    drift(
        "a waiting kernel of an ended session",
        "UPDATE kernels SET status = 'PENDING', agent_id = NULL, occupied_slots = '{}'"
        f" WHERE {_of(ENDED, 0)}",
        _kernel(AuditCheck.KERNEL_STATUSES, ENDED, "status", "TERMINATED", "PENDING"),
    ),
    drift(
        "a kernel of no session",
        _without("kernels", "session_id_fkey") + f"DELETE FROM sessions WHERE {_of(WAITING)}",
        _kernel(AuditCheck.KERNEL_STATUSES, WAITING, "status", "no such session", "PENDING"),
    ),
    drift(
        "a kernel in another group's queue",
        f"UPDATE kernels SET scaling_group = 'other' WHERE {_of(WAITING, 0)}",
        _kernel(AuditCheck.KERNEL_OWNERS, WAITING, "scaling_group", "gpu", "other"),
    ),
    drift(
        "usage that was not logged",
        "SELECT fold_usage(); SET scheduler_repo.keeps_changes = 'on';"
        "UPDATE owner_usage SET session_count = 7, slots = slots || 5::numeric WHERE scope = 'DOMAIN';"
        "DELETE FROM owner_usage WHERE scope = 'USER'",
        _usage("domain", "lab", "session_count of its usage", 5, 7),
        _usage("domain", "lab", "usage of slot index 2", 0, 5),
        _usage("user", str(UUID(int=1)), "session_count of its usage", 5, 0),
        _usage("user", str(UUID(int=1)), "usage of cpu", sum(HELD_CPU.values()), 0),
        _usage("user", str(UUID(int=1)), "usage of mem", sum(HELD_MEM.values()), 0),
    ),
    *(
        # By its other kernel the session still counts for its own owner.
        drift(
            f"a kernel of another {entity}",
            f"UPDATE kernels SET {column} = '{_STRANGER}' WHERE {_of(SPREAD, 0)}",
            AuditFinding(
                AuditCheck.OWNER_SESSIONS, entity, str(_STRANGER), "sessions that occupy agents", "1", "0"
            ),
            _kernel(AuditCheck.KERNEL_OWNERS, SPREAD, column, owner, str(_STRANGER)),
        )
        for entity, column, owner in (
            ("access key", "access_key", "key"),
            ("user", "user_id", str(UUID(int=1))),
            ("project", "project_id", str(UUID(int=2))),
            ("domain", "domain_name", "lab"),
        )
    ),
    drift(
        "a kernel of another architecture",
        f"UPDATE kernels SET architecture = 'aarch64' WHERE {_of(BUILT, 0)}",
        _kernel(AuditCheck.KERNEL_ARCHITECTURES, BUILT, "architecture of agent a2", "aarch64", "x86_64"),
    ),
    drift(
        "a kernel that occupies no agent",
        _without("kernels", "agent_id_check")
        + f"UPDATE kernels SET agent_id = NULL WHERE {_of(DESIGNATED, 0)};"
        + f"UPDATE agents SET container_count = container_count - 1 WHERE id = '{A1}';"
        + f"UPDATE agent_slots SET occupied = occupied - 1 WHERE agent_id = '{A1}'",
        _kernel(AuditCheck.KERNELS_WITHOUT_AGENT, DESIGNATED, "agent_id", "an agent", "none"),
    ),
    drift(
        "a kernel that occupies more than it asked for",
        f"UPDATE kernels SET requested_slots = '{{1, 1}}' WHERE {_of(SPREAD, 1)}",
        _kernel(AuditCheck.KERNELS_ABOVE_REQUEST, SPREAD, "occupied cpu", "at most 1", "3", index=1),
    ),
    drift(
        "a kernel that occupies what it did not ask for",
        f"UPDATE kernels SET requested_slots = '{{1}}' WHERE {_of(SINGLE, 0)}",
        _kernel(AuditCheck.KERNELS_ABOVE_REQUEST, SINGLE, "occupied mem", "at most 0", "1"),
    ),
    drift(
        "a kernel where it does not want to be",
        f"UPDATE sessions SET designated_agent_ids = '{{a2, idle}}' WHERE {_of(DESIGNATED)}",
        _kernel(AuditCheck.UNDESIGNATED_AGENTS, DESIGNATED, "agent_id", "one of a2, idle", A1),
    ),
    drift(
        "a waiting kernel on an agent",
        f"UPDATE kernels SET agent_id = '{A1}' WHERE {_of(WAITING, 0)}",
        _kernel(AuditCheck.PENDING_KERNELS_PLACED, WAITING, "agent_id", "none", A1),
    ),
    drift(
        "a waiting kernel that occupies something",
        _without("kernels", "agent_id_check")
        + f"UPDATE kernels SET occupied_slots = '{{0, 2}}' WHERE {_of(WAITING, 0)}",
        _kernel(AuditCheck.PENDING_KERNELS_PLACED, WAITING, "occupied_slots", "none", "{0,2}"),
    ),
)

_RESERVATIONS = (
    drift(
        "a reservation in another group",
        "UPDATE reservations SET scaling_group = 'other'",
        AuditFinding(
            AuditCheck.RESERVED_SESSIONS,
            "reservation",
            str(session_id(RESERVED)),
            "scaling_group",
            "gpu",
            "other",
        ),
    ),
    drift(
        "a reservation of a session that does not wait",
        f"INSERT INTO reservations (session_id, scaling_group) VALUES ('{session_id(BUILT)}', 'gpu');"
        "INSERT INTO kernel_reservations"
        f" VALUES ('{kernel_id(BUILT)}', '{session_id(BUILT)}', '{A2}')",
        AuditFinding(
            AuditCheck.RESERVED_SESSIONS,
            "reservation",
            str(session_id(BUILT)),
            "session status",
            "PENDING",
            "SCHEDULED",
        ),
    ),
    drift(
        "a reservation of no session",
        _without("reservations", "session_id_fkey")
        + f"INSERT INTO reservations (session_id, scaling_group) VALUES ('{_STRANGER}', 'gpu')",
        AuditFinding(
            AuditCheck.RESERVED_SESSIONS,
            "reservation",
            str(_STRANGER),
            "session status",
            "PENDING",
            "no such session",
        ),
    ),
    drift(
        "half a reservation",
        f"DELETE FROM kernel_reservations WHERE kernel_id = '{kernel_id(RESERVED, 1)}'",
        _kernel(
            AuditCheck.RESERVED_KERNELS,
            RESERVED,
            "reserved for session",
            str(session_id(RESERVED)),
            "none",
            index=1,
        ),
    ),
    drift(
        "another session's kernel in a reservation",
        f"INSERT INTO kernel_reservations VALUES ('{kernel_id(WAITING)}', '{session_id(RESERVED)}', '{A1}')",
        _kernel(
            AuditCheck.RESERVED_KERNELS, WAITING, "reserved for session", "none", str(session_id(RESERVED))
        ),
    ),
)

DRIFTS: Final = (*_LEDGER, *_SESSIONS, *_KERNELS, *_RESERVATIONS)
