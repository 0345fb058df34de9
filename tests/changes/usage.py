"""What owners occupy, as it is kept and as it is counted, rows of a few owners, and triggers of others."""

from collections.abc import Mapping
from typing import Final

from tests.support.databases import DriverConnection

Usage = Mapping[tuple[str, str], tuple[int, tuple[int, ...]]]

_ADD_UP: Final = """
SELECT scope, owner_id, sum(session_count)::bigint AS session_count, ARRAY(
    SELECT sum(s.amount)
    FROM {parts} AS p CROSS JOIN LATERAL unnest(p.slots) WITH ORDINALITY AS s (amount, position)
    WHERE p.scope = parts.scope AND p.owner_id = parts.owner_id
    GROUP BY s.position
    ORDER BY s.position) AS slots
FROM {parts} AS parts
GROUP BY scope, owner_id
"""
KEPT: Final = _ADD_UP.format(parts="usage_parts")
COUNTED: Final = f"""
WITH counted AS (
    SELECT o.scope, o.owner_id, session_count, slots
    FROM counted_usage
    CROSS JOIN LATERAL (VALUES
        ('ACCESS_KEY', access_key), ('USER', user_id::text),
        ('PROJECT', project_id::text), ('DOMAIN', domain_name)
    ) AS o (scope, owner_id)
)
{_ADD_UP.format(parts="counted")}
"""
# Called as those of the change log are, one of them on a table that it follows.
TRIGGERS_OF_OTHERS: Final = """
CREATE FUNCTION log_a_note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TABLE notes (note text);
CREATE TRIGGER log_a_note AFTER INSERT ON notes EXECUTE FUNCTION log_a_note();
CREATE TRIGGER log_a_note AFTER INSERT ON sessions EXECUTE FUNCTION log_a_note()
"""
# Three owners of each scope but two domains; every kernel is its session's, save where it is changed alone.
OWNERS: Final = """
INSERT INTO slot_types (name, slot_index) SELECT 'slot-' || n, n FROM generate_series(0, 9) AS n;
INSERT INTO domains (name) VALUES ('d0'), ('d1');
INSERT INTO projects (id, name, domain_name)
SELECT lpad(n::text, 32, '0')::uuid, n, 'd' || n FROM generate_series(0, 1) AS n;
INSERT INTO users (id, name, domain_name)
SELECT lpad(n::text, 32, '0')::uuid, n, 'd0' FROM generate_series(0, 2) AS n;
INSERT INTO keypairs (access_key, user_id)
SELECT 'k' || n, lpad(n::text, 32, '0')::uuid FROM generate_series(0, 2) AS n;
INSERT INTO scaling_groups (name) VALUES ('gpu');
INSERT INTO agents (id, scaling_group, address, architecture) VALUES ('a1', 'gpu', 'tcp://a1', 'x86_64')
"""


def add_session(session_id: str, key: int, project: int) -> str:
    """A pending session with one kernel; the id is a literal of SQL."""
    owners = f"'gpu', 'k{key}', lpad('{key}', 32, '0')::uuid, lpad('{project}', 32, '0')::uuid, 'd{project}'"
    columns = "scaling_group, access_key, user_id, project_id, domain_name"
    return (
        f"INSERT INTO sessions (id, name, {columns}, session_type, cluster_mode)"
        f" VALUES ({session_id}, 's', {owners}, 'BATCH', 'SINGLE_NODE');"
        f"INSERT INTO kernels (id, session_id, kernel_index, {columns}, requested_slots)"
        f" VALUES (gen_random_uuid(), {session_id}, 0, {owners}, '{{}}')"
    )


async def read_usage(driver: DriverConnection, statement: str) -> Usage:
    """What each owner occupies, without zeros at the end, and without owners who occupy nothing."""
    found = {}
    for row in await driver.fetch(statement):
        slots = [int(amount) for amount in row["slots"]]
        while slots and not slots[-1]:
            slots.pop()
        if slots or row["session_count"]:
            found[row["scope"], row["owner_id"]] = (row["session_count"], tuple(slots))
    return found
